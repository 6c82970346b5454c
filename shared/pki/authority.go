package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"fairlead.dev/shared/apperr"
)

// RootLifetime is how long a root is valid.
const RootLifetime = 20 * 365 * 24 * time.Hour

// rootName is every root's name: they are told apart by their keys.
const rootName = "Fairlead root"

// Skew is how far agents' certificates are dated back, for controllers whose
// clocks differ.
const Skew = 5 * time.Minute

// ClockTolerance is how far roots and servers' certificates, which agents
// judge by the clocks of their machines, are dated back.
const ClockTolerance = 48 * time.Hour

// Authority signs certificates with the private root.
type Authority struct {
	Root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a new root that is valid from now.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make the root key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: rootName},
		NotBefore:             now.Add(-ClockTolerance),
		NotAfter:              now.Add(RootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	der, err := create(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the root certificate: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the new root certificate: %w", err)
	}
	return &Authority{Root: root, key: key}, nil
}

// LoadAuthority reads a root from PEM. It fails with Invalid when the two do
// not belong together.
func LoadAuthority(certificate, key []byte) (*Authority, error) {
	certs, err := DecodeCertificates(certificate)
	if err != nil {
		return nil, fmt.Errorf("read the root certificate: %w", err)
	}
	private, err := DecodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("read the root key: %w", err)
	}
	root := certs[0]
	if !root.IsCA || !private.PublicKey.Equal(root.PublicKey) {
		return nil, apperr.New(apperr.Invalid, "the root key does not belong to the root certificate")
	}
	return &Authority{Root: root, key: private}, nil
}

// Encode returns the root certificate and its key as PEM, for LoadAuthority.
func (a *Authority) Encode() (certificate, key []byte, err error) {
	key, err = EncodeKey(a.key)
	if err != nil {
		return nil, nil, err
	}
	return EncodeCertificates(a.Root.Raw), key, nil
}

// Server makes a key and a certificate for a controller. The chain ends with
// the root.
func (a *Authority) Server(notBefore, notAfter time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make the server key: %w", err)
	}
	der, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName},
		DNSNames:    []string{ServerName},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.Root, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.Root.Raw}, PrivateKey: key}, nil
}

// Agent signs a client certificate for the agent's public key and returns its
// chain: the leaf alone, since the root signs it directly.
func (a *Authority) Agent(agentID string, key *ecdsa.PublicKey, notBefore, notAfter time.Time) ([][]byte, error) {
	der, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "Fairlead agent"},
		URIs:        []*url.URL{AgentURI(agentID)},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Root, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of agent %s: %w", agentID, err)
	}
	return [][]byte{der}, nil
}

func create(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}
