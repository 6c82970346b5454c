package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/shared/apperr"
)

const (
	replicaHost  = "replica"
	maxReplicaID = 128
)

// ReplicaURI returns the URI SAN that names a controller among the controllers
// of one installation: fairlead://replica/<id>.
func ReplicaURI(id string) *url.URL {
	return &url.URL{Scheme: agentScheme, Host: replicaHost, Path: "/" + id}
}

// ReplicaID returns the id in a replica's certificate. It fails with
// Unauthenticated when the certificate does not name exactly one replica; an
// agent's never does. Like AgentID it proves nothing by itself.
func ReplicaID(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", apperr.New(apperr.Unauthenticated, "certificate names %d replicas, want 1", len(cert.URIs))
	}
	uri := cert.URIs[0]
	id := strings.TrimPrefix(uri.Path, "/")
	if id == "" || len(id) > maxReplicaID || strings.Contains(id, "/") || uri.String() != ReplicaURI(id).String() {
		return "", apperr.New(apperr.Unauthenticated, "certificate does not name a replica: %q", uri)
	}
	return id, nil
}

// PeerReplica returns the id of the replica at the other end of a connection.
// It looks at verified chains only, and fails with Unauthenticated when the
// peer proved no identity or an agent's.
func PeerReplica(state tls.ConnectionState) (string, error) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return "", apperr.New(apperr.Unauthenticated, "the connection carries no replica's certificate")
	}
	return ReplicaID(state.VerifiedChains[0][0])
}

// Replica makes a key and a client certificate for a controller to show to
// the others. Only who has the root's key can.
func (a *Authority) Replica(id string, notBefore, notAfter time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make the replica key: %w", err)
	}
	der, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "Fairlead replica"},
		URIs:        []*url.URL{ReplicaURI(id)},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Root, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of replica %s: %w", id, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// ReplicaTLS returns the configuration of a controller that calls another: it
// accepts controllers of the roots there are when it connects, and shows its
// certificate, which is asked for at every connection.
func ReplicaTLS(roots func() []*x509.Certificate, own func() (*tls.Certificate, error), now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The library verifies against the roots of when the configuration was
		// made; VerifyConnection does the verification instead, on every
		// connection.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := NewTrust(roots()...).Verify(state.PeerCertificates, now())
			return err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return own()
		},
		Time: now,
	}
}
