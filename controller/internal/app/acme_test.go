package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"fairlead.dev/controller/internal/controllertest"
)

// authority is Let's Encrypt's own test authority, which looks names up at a
// server that says 127.0.0.1, and finds controllers there on a port.
type authority struct {
	directory string
	// rootsFile has the root of its web server, roots the one it signs with.
	rootsFile string
	roots     *x509.CertPool
	orders    func() int
}

func newAuthority(t *testing.T, port int) authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	// By itself it refuses one request in twenty, to try its clients out.
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	names, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{Listener: names, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		if q := r.Question[0]; q.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = resolver.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = names.Close()
		<-ended
	})
	logger := slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelInfo)
	store := db.NewMemoryStore()
	signer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(logger, store, va.New(logger, 0, port, true, names.Addr().String(), store), signer, []string{"pebble.letsencrypt.org"}, true, false, 1, 1)
	orders := 0
	handler := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			orders++
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a := authority{directory: server.URL + wfe.DirectoryPath, rootsFile: filepath.Join(t.TempDir(), "roots.pem"), roots: x509.NewCertPool(), orders: func() int { return orders }}
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(a.rootsFile, content, 0o600); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(signer.GetRootCert(0).Cert)
	return a
}

// ask calls a controller at the public name as a browser would.
func (a authority) ask(t *testing.T, name, address string) error {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+"/livez", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	return err
}

func TestTheCertificateIsGotByACMEAndSharedByAllControllers(t *testing.T) {
	address := controllertest.FreeAddr(t)
	_, portText, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, port)
	settings := []string{
		"FAIRLEAD_HTTP_TLS=acme", "FAIRLEAD_PUBLIC_URL=https://fairlead.example.com", "FAIRLEAD_ACME_EMAIL=ops@example.com",
		"FAIRLEAD_ACME_DIRECTORY=" + a.directory, "FAIRLEAD_ACME_ROOTS=" + a.rootsFile,
	}
	c := controllertest.NewWith(t, append(settings, "FAIRLEAD_HTTP_ADDR="+address)...)
	if err := a.ask(t, "fairlead.example.com", address); err != nil {
		t.Fatal(err)
	}
	if err := a.ask(t, "other.example.com", address); err == nil {
		t.Error("there is a certificate for a name that is not ours")
	}
	// Another controller serves the same one, without asking the authority.
	second := c.Replica(t, settings...)
	if err := a.ask(t, "fairlead.example.com", strings.TrimPrefix(second.URL, "http://")); err != nil {
		t.Error(err)
	}
	if n := a.orders(); n != 1 {
		t.Errorf("the authority was asked for %d certificates", n)
	}
	conn, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var kept, readable int
	err = conn.QueryRow(t.Context(), "select count(*), count(*) filter (where position('PRIVATE KEY'::bytea in content) > 0) from http_certificates").Scan(&kept, &readable)
	if err != nil || kept < 2 || readable != 0 {
		t.Errorf("%d rows are kept, %d of them hold a readable key, %v", kept, readable, err)
	}
}
