package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

func TestHintsSurviveTheServerName(t *testing.T) {
	a, b := pki.PinOf(authority(t).Root), pki.PinOf(authority(t).Root)
	for _, pins := range [][]pki.Pin{{a}, {a, b}, {b, a}} {
		var want []string
		for _, pin := range pins {
			want = append(want, pin.String()[:16])
		}
		if got := pki.Hints(pki.HintName(pins...)); !slices.Equal(got, want) {
			t.Errorf("hints %v, want %v", got, want)
		}
	}
	for _, other := range []string{"", pki.ServerName, "example.com"} {
		if got := pki.Hints(other); got != nil {
			t.Errorf("%q has hints %v", other, got)
		}
	}
	many := slices.Repeat([]pki.Pin{a}, 100)
	if name := pki.HintName(many...); len(name) > 253 {
		t.Errorf("a name of %d bytes fits into no client hello", len(name))
	}
}

// TestAgentsAreShownTheRootTheyTrust has a server with two roots choose by
// what the agents say.
func TestAgentsAreShownTheRootTheyTrust(t *testing.T) {
	old, current, foreign := authority(t), authority(t), authority(t)
	certificates := map[string]*tls.Certificate{
		pki.PinOf(old.Root).Hint():     server(t, old),
		pki.PinOf(current.Root).Hint(): server(t, current),
	}
	config := pki.ServerTLS([]*x509.Certificate{old.Root, current.Root}, func(hints []string) (*tls.Certificate, error) {
		for _, hint := range hints {
			if cert := certificates[hint]; cert != nil {
				return cert, nil
			}
		}
		return certificates[pki.PinOf(old.Root).Hint()], nil
	}, time.Now)

	for name, c := range map[string]struct {
		trust []*x509.Certificate
		own   *pki.Authority
		fails bool
	}{
		"the old root, a certificate of the old one": {[]*x509.Certificate{old.Root}, old, false},
		"the old root, a certificate of the new one": {[]*x509.Certificate{old.Root}, current, false},
		"the new root, a certificate of the old one": {[]*x509.Certificate{current.Root}, old, false},
		"both":                               {[]*x509.Certificate{old.Root, current.Root}, current, false},
		"a foreign root beside one of these": {[]*x509.Certificate{foreign.Root, current.Root}, current, false},
		"a foreign root":                     {[]*x509.Certificate{foreign.Root}, current, true},
		"nobody":                             {nil, current, true},
		"a certificate of a foreign root":    {[]*x509.Certificate{current.Root}, foreign, true},
	} {
		t.Run(name, func(t *testing.T) {
			own := agent(t, c.own, "a1", time.Now().Add(time.Hour))
			_, err := handshake(t, pki.AgentTLS(pki.NewTrust(c.trust...), own, time.Now), config)
			if (err != nil) != c.fails {
				t.Fatalf("got %v", err)
			}
		})
	}
	// Before an agent has a root it has a pin, and says so in the same way.
	for _, a := range []*pki.Authority{old, current} {
		intro := pki.Introduce(pki.PinOf(a.Root), time.Now)
		if _, err := handshake(t, intro.TLSConfig(), config); err != nil {
			t.Error(err)
		}
	}
}

func TestAStrangerIsNamed(t *testing.T) {
	ours, other := authority(t), authority(t)
	_, err := handshake(t, pki.AgentTLS(pki.NewTrust(ours.Root), tls.Certificate{}, time.Now), serverConfig(other, server(t, other)))
	var stranger *pki.StrangerError
	if !errors.As(err, &stranger) || len(stranger.Presented) != 2 || !apperr.Is(err, apperr.Unauthenticated) {
		t.Fatalf("got %v", err)
	}
}

// TestEnrolledAgentRefusesServers has every way a server can fail to prove itself
// to an agent that is enrolled.
func TestEnrolledAgentRefusesServers(t *testing.T) {
	ours := authority(t)
	sign := func(from, to time.Duration) *tls.Certificate {
		cert, err := ours.Server(time.Now().Add(from), time.Now().Add(to))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	agents := agent(t, ours, "a1", time.Now().Add(time.Hour))
	agents.Certificate = append(agents.Certificate, ours.Root.Raw)
	for name, cert := range map[string]*tls.Certificate{
		"that expired":             sign(-2*time.Hour, -time.Hour),
		"of the future":            sign(time.Hour, 2*time.Hour),
		"of an agent":              &agents,
		"of another controller":    server(t, authority(t)),
		"with our root beside one": {Certificate: [][]byte{server(t, authority(t)).Certificate[0], ours.Root.Raw}, PrivateKey: server(t, authority(t)).PrivateKey},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := handshake(t, pki.AgentTLS(pki.NewTrust(ours.Root), tls.Certificate{}, time.Now), serverConfig(ours, cert)); err == nil {
				t.Fatal("the handshake succeeded")
			}
		})
	}
}

func TestTrustChangesByWhatIsTrusted(t *testing.T) {
	one, two, three := authority(t).Root, authority(t).Root, authority(t).Root
	leaf, err := x509.ParseCertificate(server(t, authority(t)).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		trusted, list []*x509.Certificate
		present       *x509.Certificate
		want          []*x509.Certificate
	}{
		"one is added":                           {roots(one), roots(one, two), one, roots(one, two)},
		"one goes, over a connection of another": {roots(one, two), roots(two), two, roots(two)},
		"the present one stays":                  {roots(one, two), roots(two), one, roots(one, two)},
		"one comes and one goes":                 {roots(one, two), roots(two, three), two, roots(two, three)},
		"twice the same":                         {roots(one), roots(one, one), one, roots(one)},
		"a replay of an older list":              {roots(two), roots(one, two), two, roots(one, two)},
		"none that is trusted":                   {roots(one), roots(two), one, nil},
		"an empty list":                          {roots(one), nil, one, nil},
		"too many":                               {roots(one), slices.Repeat(roots(one), pki.MaxRoots+1), one, nil},
		"no root":                                {roots(one), roots(one, leaf), one, nil},
	} {
		t.Run(name, func(t *testing.T) {
			trust := pki.NewTrust(c.trusted...)
			var list [][]byte
			for _, root := range c.list {
				list = append(list, root.Raw)
			}
			got, err := trust.Next(list, c.present)
			if (err == nil) != (c.want != nil) || !slices.EqualFunc(got, c.want, (*x509.Certificate).Equal) {
				t.Errorf("got %d roots, %v", len(got), err)
			}
			if !slices.EqualFunc(trust.Roots(), c.trusted, (*x509.Certificate).Equal) {
				t.Error("asking changed the trust")
			}
		})
	}
	if _, err := pki.NewTrust(one).Next([][]byte{one.Raw, []byte("garbage")}, one); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("garbage: %v", err)
	}
}

func roots(list ...*x509.Certificate) []*x509.Certificate { return list }

// TestNoSessionIsResumed would fail with session tickets: a certificate that
// was revoked, or a root that was retired, must not come back on an old one.
func TestNoSessionIsResumed(t *testing.T) {
	a := authority(t)
	client := pki.AgentTLS(pki.NewTrust(a.Root), agent(t, a, "a1", time.Now().Add(time.Hour)), time.Now)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(8) // an attacker's
	srv := serverConfig(a, server(t, a))
	for range 3 {
		left, right := wire(t)
		c, s := tls.Client(left, client), tls.Server(right, srv)
		said := make(chan error, 1)
		go func() {
			_, err := s.Write([]byte("x")) // after the handshake and any ticket
			said <- err
		}()
		_, err := c.Read(make([]byte, 1))
		if err := errors.Join(err, <-said); err != nil {
			t.Fatal(err)
		}
		if state := s.ConnectionState(); state.DidResume || len(state.VerifiedChains) == 0 {
			t.Fatalf("resumed %v, with %d verified chains", state.DidResume, len(state.VerifiedChains))
		}
	}
}

// wire is a connection with buffers, both ends of it.
func wire(t *testing.T) (left, right net.Conn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if left, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if right, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	if err := errors.Join(left.SetDeadline(deadline), right.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = left.Close(), right.Close() })
	return left, right
}

func TestOlderTLSIsRefused(t *testing.T) {
	a := authority(t)
	client := pki.AgentTLS(pki.NewTrust(a.Root), tls.Certificate{}, time.Now)
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, client, serverConfig(a, server(t, a))); err == nil {
		t.Error("TLS 1.2 was taken")
	}
	old := serverConfig(a, server(t, a))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, pki.AgentTLS(pki.NewTrust(a.Root), tls.Certificate{}, time.Now), old); err == nil {
		t.Error("the agent spoke TLS 1.2")
	}
}
