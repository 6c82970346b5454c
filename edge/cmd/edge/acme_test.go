package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log" //nolint:depguard // Pebble logs to one of these
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"github.com/quic-go/quic-go/http3"

	"fairlead.dev/shared/edgeapi"
)

// authority is a real ACME server that checks challenges at the edge's ports.
type authority struct {
	settings edgeapi.Settings
	roots    *x509.CertPool
	server   *httptest.Server
}

func startAuthority(t *testing.T, e *edge) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	// By itself it refuses one request in twenty, to try its clients out.
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default", ValidityPeriod: 86400 * 90}})
	validator := va.New(quiet, e.http, e.https, false, nameServer(t), store)
	front := wfe.New(quiet, store, validator, issuer, []string{"pebble.test"}, false, false, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(issuer.GetRootCert(0).Cert)
	return &authority{roots: roots, server: server, settings: edgeapi.Settings{
		ACMEEmail: "someone@shop.test", ACMEDirectory: server.URL + wfe.DirectoryPath,
		ACMERoots: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	}}
}

// nameServer says of every name that it is this machine.
func nameServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, ask *dns.Msg) {
		answer := new(dns.Msg).SetReply(ask)
		if q := ask.Question[0]; q.Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(answer) // who asked asks again
	})}
	go func() { _ = server.ActivateAndServe() }() // until it is shut down
	t.Cleanup(func() { _ = server.Shutdown() })
	return listener.Addr().String()
}

// secure asks for https://host/ at the edge and returns the protocol of the
// answer and its body.
func (e *edge) secure(protocol, host string, roots *x509.CertPool) (string, error) {
	config := &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	var transport http.RoundTripper
	switch protocol {
	case "HTTP/3.0":
		h3 := &http3.Transport{TLSClientConfig: config}
		defer func() { _ = h3.Close() }()
		transport = h3
	default:
		h := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		if protocol == "HTTP/1.1" {
			h.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		defer h.CloseIdleConnections()
		transport = h
	}
	ctx, cancel := context.WithTimeout(e.Context(), 10*time.Second)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", e.https), nil)
	if err != nil {
		return "", err
	}
	ask.Host = host
	answer, err := transport.RoundTrip(ask)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if answer.Proto != protocol {
		return "", fmt.Errorf("answered by %s, want %s", answer.Proto, protocol)
	}
	return string(text), err
}

// A host gets a certificate from an ACME server, is served with HTTP/1.1, 2 and
// 3, keeps its certificate over a restart without the server, and loses it with
// its route.
func TestCertificatesAreGottenKeptAndDropped(t *testing.T) {
	e := startEdge(t)
	authority := startAuthority(t, e)
	if status, body, err := e.ask(http.MethodPut, edgeapi.PathSettings, authority.settings); err != nil || status != http.StatusNoContent {
		t.Fatalf("configure: %d %s %v", status, body, err)
	}
	route := edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", TLS: true, Upstreams: []edgeapi.Upstream{upstream(t, "shop", nil)}}
	e.set("a", route)
	serves := func(protocol string) func() error {
		return func() error {
			body, err := e.secure(protocol, "shop.test", authority.roots)
			if err == nil && !strings.HasPrefix(body, "shop ") {
				err = fmt.Errorf("answered with %q", body)
			}
			return err
		}
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		e.await("shop.test is served by "+protocol, serves(protocol))
	}
	answer, _ := e.send(http.MethodGet, "shop.test", "/a?b", nil)
	if want := fmt.Sprintf("https://shop.test:%d/a?b", e.https); answer.StatusCode != http.StatusPermanentRedirect || answer.Header.Get("Location") != want {
		t.Errorf("plain http: %d to %q, want it sent on to %s", answer.StatusCode, answer.Header.Get("Location"), want)
	}
	if _, err := e.secure("HTTP/1.1", "else.test", authority.roots); err == nil {
		t.Error("a host without a route was served")
	}

	authority.server.Close()
	e.stop()
	e.start()
	e.await("shop.test is served after a restart", serves("HTTP/2.0"))

	e.set("a", edgeapi.Route{Name: "web", Host: "else.test", Path: "/", Upstreams: route.Upstreams})
	e.await("the certificate is dropped", func() error {
		if _, err := e.secure("HTTP/1.1", "shop.test", authority.roots); err == nil {
			return fmt.Errorf("shop.test is served still")
		}
		return nil
	})
}

func TestWhyThereIsNoCertificateIsSaid(t *testing.T) {
	e := startEdge(t)
	settings := edgeapi.Settings{ACMEDirectory: fmt.Sprintf("https://127.0.0.1:%d/dir", freePort(t))}
	if status, body, err := e.ask(http.MethodPut, edgeapi.PathSettings, settings); err != nil || status != http.StatusNoContent {
		t.Fatalf("configure: %d %s %v", status, body, err)
	}
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", TLS: true, Upstreams: []edgeapi.Upstream{upstream(t, "shop", nil)}})
	e.await("the problem is told", func() error {
		_, body, err := e.ask(http.MethodGet, edgeapi.PathRoutes, nil)
		if err == nil && !strings.Contains(body, `"problem":"`) {
			err = fmt.Errorf("state: %s", body)
		}
		return err
	})
}
