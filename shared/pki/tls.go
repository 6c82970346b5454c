package pki

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"fairlead.dev/shared/apperr"
)

// AgentTLS returns the configuration of an enrolled agent: it trusts the root
// alone and shows its certificate.
func AgentTLS(root *x509.Certificate, own tls.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   ServerName,
		RootCAs:      poolOf(root),
		Certificates: []tls.Certificate{own},
		Time:         now,
	}
}

// ServerTLS returns the configuration of the controller's listener for agents.
// A client certificate may be missing (an agent that enrols has none yet) but
// never wrong: one that does not lead to the root, has expired or is not meant
// for clients ends the handshake. The certificate's chain must include the
// root, for agents that know only its pin.
func ServerTLS(root *x509.Certificate, certificate func() (*tls.Certificate, error), now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		ClientCAs:              poolOf(root),
		SessionTicketsDisabled: true,
		Time:                   now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate()
		},
	}
}

// PeerAgent returns the id of the agent at the other end of a connection. It
// looks at verified chains only, and fails with Unauthenticated when the peer
// proved no identity.
func PeerAgent(state tls.ConnectionState) (string, *x509.Certificate, error) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return "", nil, apperr.New(apperr.Unauthenticated, "the connection carries no agent certificate; enrol first")
	}
	leaf := state.VerifiedChains[0][0]
	id, err := AgentID(leaf)
	return id, leaf, err
}

// VerifyAgent checks a client certificate chain (DER, leaf first) as a
// controller would: it leads to the root, is valid now, is meant for clients
// and names an agent. It returns the leaf and the agent's id.
func VerifyAgent(root *x509.Certificate, chain [][]byte, now time.Time) (*x509.Certificate, string, error) {
	if len(chain) == 0 {
		return nil, "", apperr.New(apperr.Invalid, "the certificate chain is empty")
	}
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, "", apperr.Wrap(apperr.Invalid, err, "not a certificate")
		}
		certs = append(certs, cert)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots:         poolOf(root),
		Intermediates: poolOf(certs[1:]...),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, "", apperr.Wrap(apperr.Unauthenticated, err, "the certificate does not lead to the root")
	}
	id, err := AgentID(certs[0])
	return certs[0], id, err
}

func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}
