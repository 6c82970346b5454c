package pki_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func server(t *testing.T, a *pki.Authority) *tls.Certificate {
	t.Helper()
	cert, err := a.Server(time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func agent(t *testing.T, a *pki.Authority, id string, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Agent(id, &key.PublicKey, time.Now().Add(-time.Hour), notAfter)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// handshake runs both sides over a pipe and returns the server's view and the
// first error of either.
func handshake(t *testing.T, client, srv *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	c, s := tls.Client(left, client), tls.Server(right, srv)
	serverErr := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(ctx)
		if err != nil {
			_ = right.Close()
		}
		serverErr <- err
	}()
	err := c.HandshakeContext(ctx)
	if err != nil {
		_ = left.Close()
	} else {
		// The server judges the client after the client is done, and says so
		// on a pipe that somebody must read.
		go func() { _, _ = io.Copy(io.Discard, left) }()
	}
	if other := <-serverErr; err == nil {
		err = other
	}
	return s.ConnectionState(), err
}

func serverConfig(a *pki.Authority, cert *tls.Certificate) *tls.Config {
	return pki.ServerTLS([]*x509.Certificate{a.Root}, func([]string) (*tls.Certificate, error) { return cert, nil }, time.Now)
}

func TestIntroductionLearnsTheRootByItsPin(t *testing.T) {
	a := authority(t)
	intro := pki.Introduce(pki.PinOf(a.Root), time.Now)
	if _, err := handshake(t, intro.TLSConfig(), serverConfig(a, server(t, a))); err != nil {
		t.Fatal(err)
	}
	root, err := intro.Result()
	if err != nil || !root.Equal(a.Root) {
		t.Fatalf("root %v, error %v", root, err)
	}
}

func TestIntroductionRefuses(t *testing.T) {
	ours, other := authority(t), authority(t)
	withoutRoot := server(t, ours)
	withoutRoot.Certificate = withoutRoot.Certificate[:1]
	foreignLeaf := server(t, other)
	foreignLeaf.Certificate = append(foreignLeaf.Certificate, ours.Root.Raw)
	expired, err := ours.Server(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	asServer := agent(t, ours, "a1", time.Now().Add(time.Hour))
	asServer.Certificate = append(asServer.Certificate, ours.Root.Raw)

	for name, cert := range map[string]*tls.Certificate{
		"another controller":                      server(t, other),
		"a chain without the root":                withoutRoot,
		"a foreign leaf beside the pinned root":   foreignLeaf,
		"an expired certificate":                  expired,
		"an agent's certificate used as a server": &asServer,
	} {
		t.Run(name, func(t *testing.T) {
			intro := pki.Introduce(pki.PinOf(ours.Root), time.Now)
			if _, err := handshake(t, intro.TLSConfig(), serverConfig(ours, cert)); err == nil {
				t.Fatal("the handshake succeeded")
			}
			if _, err := intro.Result(); !apperr.Is(err, apperr.Unauthenticated) {
				t.Fatalf("result %v, want an unauthenticated error", err)
			}
		})
	}
}

func TestAgentIsKnownByItsCertificate(t *testing.T) {
	a := authority(t)
	config := pki.AgentTLS(pki.NewTrust(a.Root), agent(t, a, "agent-7", time.Now().Add(time.Hour)), time.Now)
	state, err := handshake(t, config, serverConfig(a, server(t, a)))
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := pki.PeerAgent(state)
	if err != nil || id != "agent-7" {
		t.Fatalf("agent %q, error %v", id, err)
	}
}

func TestServerRefusesCertificates(t *testing.T) {
	ours, other := authority(t), authority(t)
	for name, cert := range map[string]tls.Certificate{
		"of another root":              agent(t, other, "a1", time.Now().Add(time.Hour)),
		"that expired":                 agent(t, ours, "a1", time.Now().Add(-time.Minute)),
		"that are meant for a server":  *server(t, ours),
		"that are the root of another": {Certificate: [][]byte{other.Root.Raw}, PrivateKey: agent(t, other, "x", time.Now().Add(time.Hour)).PrivateKey},
	} {
		t.Run(name, func(t *testing.T) {
			config := pki.AgentTLS(pki.NewTrust(ours.Root), cert, time.Now)
			state, err := handshake(t, config, serverConfig(ours, server(t, ours)))
			if err == nil {
				t.Fatalf("the handshake succeeded with %v", state.PeerCertificates)
			}
		})
	}
}

func TestPeerAgentNeedsACertificate(t *testing.T) {
	a := authority(t)
	state, err := handshake(t, pki.Introduce(pki.PinOf(a.Root), time.Now).TLSConfig(), serverConfig(a, server(t, a)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := pki.PeerAgent(state); !apperr.Is(err, apperr.Unauthenticated) {
		t.Fatalf("got %v, want an unauthenticated error", err)
	}
}

func TestAgentID(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, c := range []struct {
		name string
		uris []*url.URL
		want string
	}{
		{"one agent", []*url.URL{pki.AgentURI("0192-abc")}, "0192-abc"},
		{"nobody", nil, ""},
		{"two agents", []*url.URL{pki.AgentURI("a"), pki.AgentURI("b")}, ""},
		{"an empty id", []*url.URL{pki.AgentURI("")}, ""},
		{"a deeper path", []*url.URL{uri("fairlead://agent/a/b")}, ""},
		{"another scheme", []*url.URL{uri("https://agent/a")}, ""},
		{"another host", []*url.URL{uri("fairlead://node/a")}, ""},
		{"a query", []*url.URL{uri("fairlead://agent/a?b=c")}, ""},
		{"a user", []*url.URL{uri("fairlead://u@agent/a")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pki.AgentID(&x509.Certificate{URIs: c.uris})
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("id %q, error %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestRequestKey(t *testing.T) {
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pki.RequestKey(der)
	if err != nil || !got.Equal(&key.PublicKey) {
		t.Fatalf("key %v, error %v", got, err)
	}

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := pki.NewRequest(p384)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewRequest(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), der...)
	forged[len(forged)-1] ^= 1
	for name, bad := range map[string][]byte{
		"nothing": nil, "another curve": big, "an RSA key": other,
		"a broken signature": forged, "too much": make([]byte, pki.MaxRequestBytes+1),
	} {
		if _, err := pki.RequestKey(bad); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("%s: got %v, want an invalid error", name, err)
		}
	}
}

func TestAuthoritySurvivesItsFiles(t *testing.T) {
	a := authority(t)
	cert, key, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := pki.LoadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	config := pki.AgentTLS(pki.NewTrust(a.Root), agent(t, again, "a1", time.Now().Add(time.Hour)), time.Now)
	if _, err := handshake(t, config, serverConfig(a, server(t, again))); err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := authority(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadAuthority(cert, otherKey); !apperr.Is(err, apperr.Invalid) {
		t.Fatalf("a foreign key was taken: %v", err)
	}
}

func FuzzRequestKey(f *testing.F) {
	key, err := pki.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	der, err := pki.NewRequest(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		if key, err := pki.RequestKey(der); (key == nil) == (err == nil) {
			t.Fatalf("key %v and error %v", key, err)
		}
	})
}

func TestParsePin(t *testing.T) {
	a := authority(t)
	pin, err := pki.ParsePin(pki.PinOf(a.Root).String())
	if err != nil || pin != pki.PinOf(a.Root) {
		t.Fatalf("pin %v, error %v", pin, err)
	}
	for _, bad := range []string{"", "abc", "zz" + pin.String()[2:], pin.String() + "00"} {
		if _, err := pki.ParsePin(bad); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("%q: got %v, want an invalid error", bad, err)
		}
	}
}
