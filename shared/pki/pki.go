// Package pki is the trust between controller and agents: one private root,
// pinned by its hash before an agent has an identity and by itself afterwards;
// server certificates with one fixed name; client certificates that name an
// agent. Both sides of the wire take their TLS configuration from here.
//
// All connections are TLS 1.3 without session tickets, so that a revoked
// certificate cannot come back on an old session.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"

	"fairlead.dev/shared/apperr"
)

// ServerName is the DNS name in every controller's certificate, whatever
// address agents reach it at: the private root vouches for it, not the DNS.
const ServerName = "fairlead-controller"

// MaxRequestBytes bounds a certificate request.
const MaxRequestBytes = 4 << 10

const (
	agentScheme = "fairlead"
	agentHost   = "agent"
	maxAgentID  = 128

	blockKey         = "PRIVATE KEY"
	blockCertificate = "CERTIFICATE"
)

// AgentURI returns the URI SAN that names an agent: fairlead://agent/<id>.
func AgentURI(agentID string) *url.URL {
	return &url.URL{Scheme: agentScheme, Host: agentHost, Path: "/" + agentID}
}

// AgentID returns the id in an agent's certificate. It fails with
// Unauthenticated when the certificate does not name exactly one agent. It
// proves nothing by itself: the certificate must have been verified before.
func AgentID(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", apperr.New(apperr.Unauthenticated, "certificate names %d agents, want 1", len(cert.URIs))
	}
	uri := cert.URIs[0]
	id := strings.TrimPrefix(uri.Path, "/")
	if id == "" || len(id) > maxAgentID || strings.Contains(id, "/") || uri.String() != AgentURI(id).String() {
		return "", apperr.New(apperr.Unauthenticated, "certificate does not name an agent: %q", uri)
	}
	return id, nil
}

// NewKey makes an ECDSA P-256 key.
func NewKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// NewRequest makes a certificate request (PKCS#10, DER) for the key. It names
// nobody: the signer takes nothing from it but the public key.
func NewRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return der, nil
}

// RequestKey returns the public key of a certificate request whose signature
// holds. It fails with Invalid for anything but an ECDSA P-256 key.
func RequestKey(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > MaxRequestBytes {
		return nil, apperr.InvalidField("certificate_request", len(der), "is longer than %d bytes", MaxRequestBytes)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, badRequest(err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, apperr.InvalidField("certificate_request", nil, "want an ECDSA P-256 key")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, badRequest(err)
	}
	return key, nil
}

func badRequest(err error) error {
	e := apperr.InvalidField("certificate_request", nil, "is not a certificate request")
	e.Err = err
	return e
}

// KeyFingerprint returns the SHA-256, in hex, of a public key in its PKIX
// form: how an agent's key is remembered.
func KeyFingerprint(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// EncodeKey returns the key as PKCS#8 PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// DecodeKey reads what EncodeKey wrote.
func DecodeKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != blockKey {
		return nil, apperr.New(apperr.Invalid, "not a private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, apperr.Wrap(apperr.Invalid, err, "not a private key in PKCS#8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, apperr.New(apperr.Invalid, "private key is not an ECDSA key")
	}
	return key, nil
}

// EncodeCertificates returns DER certificates as PEM, in their order.
func EncodeCertificates(chain ...[]byte) []byte {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})...)
	}
	return text
}

// DecodeCertificates reads what EncodeCertificates wrote: at least one
// certificate and nothing else.
func DecodeCertificates(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != blockCertificate {
			return nil, apperr.New(apperr.Invalid, "found a %s where a certificate was expected", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, apperr.Wrap(apperr.Invalid, err, "not a certificate")
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, apperr.New(apperr.Invalid, "no certificate in PEM found")
	}
	return chain, nil
}
