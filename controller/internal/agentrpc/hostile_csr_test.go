package agentrpc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
)

// oddRequest makes a certificate request; change makes it odd.
func oddRequest(t *testing.T, key any, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	change(template)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// greedy are requests that ask for more than an identity.
func greedy(victimID string) map[string]func(*x509.CertificateRequest) {
	uri, _ := url.Parse("fairlead://agent/" + victimID)
	basic, _ := asn1.Marshal(struct {
		IsCA bool
		Path int
	}{true, 5})
	usage, _ := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}, {2, 5, 29, 37, 0}})
	extension := func(id asn1.ObjectIdentifier, value []byte) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
		}
	}
	return map[string]func(*x509.CertificateRequest){
		"a name": func(r *x509.CertificateRequest) {
			r.Subject = pkix.Name{CommonName: victimID, Organization: []string{"system:masters"}}
		},
		"host names":         func(r *x509.CertificateRequest) { r.DNSNames = []string{"controller.fairlead.internal", "localhost"} },
		"addresses":          func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
		"another's URI":      func(r *x509.CertificateRequest) { r.URIs = []*url.URL{uri, pki.AgentURI(victimID)} },
		"mail":               func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"root@example.com"} },
		"to be an authority": extension(asn1.ObjectIdentifier{2, 5, 29, 19}, basic),
		"to be a server":     extension(asn1.ObjectIdentifier{2, 5, 29, 37}, usage),
		"to sign":            extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{3, 2, 1, 6}),
		"something unknown":  extension(asn1.ObjectIdentifier{1, 2, 3, 4}, []byte("x")),
	}
}

// bare fails the test unless a certificate says who the agent is and no more.
func bare(t *testing.T, der []byte, agentID string, key *ecdsa.PrivateKey) {
	t.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case leaf.IsCA, leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		t.Error("it may sign certificates")
	case len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0:
		t.Errorf("it has the names %v %v %v", leaf.DNSNames, leaf.IPAddresses, leaf.EmailAddresses)
	case len(leaf.URIs) != 1 || leaf.URIs[0].String() != pki.AgentURI(agentID).String():
		t.Errorf("it has the URIs %v, want that of %s", leaf.URIs, agentID)
	case len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(leaf.UnknownExtKeyUsage) > 0:
		t.Errorf("its usages are %v %v", leaf.ExtKeyUsage, leaf.UnknownExtKeyUsage)
	case len(leaf.Subject.Organization) > 0:
		t.Errorf("its subject is %v", leaf.Subject)
	case !key.PublicKey.Equal(leaf.PublicKey):
		t.Error("it is for another key")
	}
	for _, x := range leaf.Extensions {
		if x.Id.Equal(asn1.ObjectIdentifier{1, 2, 3, 4}) {
			t.Error("it has an extension of the request")
		}
	}
}

func TestHostileRequestsGiveNothingButTheirKey(t *testing.T) {
	s := newSite(t)
	first := s.admin.Install(t, "acme", s.node)
	stranger, _, err := enrol(t, s.connect(t, first), first.Token)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range greedy(stranger.GetAgentId()) {
		t.Run(what, func(t *testing.T) {
			node := s.admin.Post("/api/acme/nodes", map[string]any{"name": strings.NewReplacer(" ", "-", "'", "").Replace(what)}).Expect(t, 201).String(t, "id")
			e := s.admin.Install(t, "acme", node)
			key, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := agentv1.NewEnrolmentServiceClient(s.connect(t, e)).Enrol(t.Context(), &agentv1.EnrolRequest{
				Token: e.Token, CertificateRequest: oddRequest(t, key, change), Agent: &agentv1.AgentInfo{NodeType: "docker"},
			})
			if err != nil {
				t.Fatal(err)
			}
			bare(t, answer.GetCertificateChain()[0], answer.GetAgentId(), key)
			if answer.GetAgentId() == stranger.GetAgentId() {
				t.Error("it became somebody else")
			}
			// Renewed it is the same agent still, whatever it asks for.
			own := tls.Certificate{Certificate: answer.GetCertificateChain(), PrivateKey: key}
			next, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			renewed, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).RenewCertificate(t.Context(),
				&agentv1.RenewCertificateRequest{CertificateRequest: oddRequest(t, next, change)})
			if err != nil {
				t.Fatal(err)
			}
			bare(t, renewed.GetCertificateChain()[0], answer.GetAgentId(), next)
		})
	}
}

// TestHostileKeysAreRefused: and another agent's heartbeats come back all the
// while.
func TestHostileKeysAreRefused(t *testing.T) {
	s := newSite(t)
	v := s.victim(t)
	node := s.admin.Post("/api/acme/nodes", map[string]any{"name": "hostile"}).Expect(t, 201).String(t, "id")
	e := s.admin.Install(t, "acme", node)
	good, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(*x509.CertificateRequest) {}
	whole := oddRequest(t, good, plain)
	foreign := bytes.Clone(whole) // signed by nobody who has the key
	foreign[len(foreign)-1] ^= 1
	swapped := bytes.Replace(whole, elliptic.Marshal(elliptic.P256(), good.X, good.Y), elliptic.Marshal(elliptic.P256(), elliptic.P256().Params().Gx, elliptic.P256().Params().Gy), 1) //nolint:staticcheck // bytes, not mathematics
	offCurve := bytes.Replace(whole, elliptic.Marshal(elliptic.P256(), good.X, good.Y), append([]byte{4}, make([]byte, 64)...), 1)                                                     //nolint:staticcheck // bytes, not mathematics
	for name, der := range map[string][]byte{
		"nothing":               nil,
		"a short RSA key":       oddRequest(t, weak, plain),
		"an RSA key":            oddRequest(t, strong, plain),
		"another curve":         oddRequest(t, other, plain),
		"an Edwards key":        oddRequest(t, edwards, plain),
		"a broken signature":    foreign,
		"somebody else's key":   swapped,
		"a point off the curve": offCurve,
		"half a request":        whole[:len(whole)/2],
		"more than a request":   append(bytes.Clone(whole), whole...),
		"a certificate":         []byte(strings.Repeat("\x30\x82\xff\xff", 1000)),
		"deep nesting":          bytes.Repeat([]byte{0x30, 0x80}, 2000),
		"too much":              make([]byte, 100<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := agentv1.NewEnrolmentServiceClient(s.connect(t, e)).Enrol(t.Context(), &agentv1.EnrolRequest{Token: e.Token, CertificateRequest: der})
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want an invalid argument", err)
			}
			v.echo()
		})
	}
	if _, _, err := enrol(t, s.connect(t, e), e.Token); err != nil {
		t.Errorf("after the refusals the token does not work: %v", err)
	}
}
