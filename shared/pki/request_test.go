package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"testing"
	"time"

	"fairlead.dev/shared/pki"
)

// TestACertificateTakesNothingFromTheRequestButTheKey asks for everything one
// could want: another agent's name, an authority, a server, a long life.
func TestACertificateTakesNothingFromTheRequestButTheKey(t *testing.T) {
	a := authority(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	basic, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "other", Organization: []string{"system:masters"}},
		DNSNames:    []string{pki.ServerName, "example.com"},
		URIs:        []*url.URL{pki.AgentURI("other")},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basic},
		},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pki.RequestKey(der)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	chain, err := a.Agent("mine", public, time.Now().Add(-pki.Skew), until)
	if err != nil {
		t.Fatal(err)
	}
	leaf, id, err := pki.ReadAgent(chain)
	if err != nil || id != "mine" {
		t.Fatalf("agent %q, %v", id, err)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 || len(leaf.URIs) != 1 || leaf.IsCA ||
		leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth ||
		len(leaf.Subject.Organization) != 0 || leaf.NotAfter.After(until) || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("the certificate took something over: %+v", leaf)
	}
	// An agent's certificate signs nothing, whatever it is put into.
	signed, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: leaf.SerialNumber, URIs: []*url.URL{pki.AgentURI("other")}, NotBefore: time.Now(), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, leaf, public, key)
	if err != nil {
		t.Fatal(err)
	}
	nested := agent(t, a, "mine", until)
	nested.Certificate, nested.PrivateKey = [][]byte{signed, chain[0]}, key
	if _, err := handshake(t, pki.AgentTLS(pki.NewTrust(a.Root), nested, time.Now), serverConfig(a, server(t, a))); err == nil {
		t.Error("a certificate that an agent signed was taken")
	}
}

func TestCertificatesOfAnotherTimeAreRefused(t *testing.T) {
	a := authority(t)
	for name, shift := range map[string]time.Duration{"yesterday": -48 * time.Hour, "tomorrow": 48 * time.Hour} {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := a.Agent("a1", &key.PublicKey, time.Now().Add(shift), time.Now().Add(shift+24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		own := agent(t, a, "a1", time.Now().Add(time.Hour))
		own.Certificate, own.PrivateKey = chain, key
		if _, err := handshake(t, pki.AgentTLS(pki.NewTrust(a.Root), own, time.Now), serverConfig(a, server(t, a))); err == nil {
			t.Errorf("a certificate of %s was taken", name)
		}
	}
}

// TestAgentsBearAClockThatIsOff: by two days it may be off, in either
// direction, and then the controller is still proven.
func TestAgentsBearAClockThatIsOff(t *testing.T) {
	a := authority(t)
	cert, err := a.Server(time.Now().Add(-pki.ClockTolerance), time.Now().Add(90*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{-47 * time.Hour, 0, 47 * time.Hour} {
		clock := func() time.Time { return time.Now().Add(off) }
		config := pki.AgentTLS(pki.NewTrust(a.Root), agent(t, a, "a1", time.Now().Add(time.Hour)), clock)
		if _, err := handshake(t, config, serverConfig(a, cert)); err != nil {
			t.Errorf("with a clock %s off: %v", off, err)
		}
	}
}
