package pki

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"fairlead.dev/shared/apperr"
)

// AgentTLS returns the configuration of an enrolled agent: it accepts a
// controller by the roots it trusts when it connects and by no others, and
// shows its certificate; none when own has none, as an agent does whose
// certificate expired.
func AgentTLS(trust *Trust, own tls.Certificate, now func() time.Time) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The server name sent tells the controller which of its roots will
		// do; the name that is verified is always the same. The library would
		// verify what it sends, so VerifyConnection does the verification,
		// on every connection.
		ServerName:         HintName(trust.Pins()...),
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := trust.Verify(state.PeerCertificates, now())
			return err
		},
		Time: now,
	}
	if len(own.Certificate) > 0 {
		// Shown whatever authorities the server asks for: it is to say what
		// is wrong with it, rather than that there is none.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	}
	return config
}

// ServerTLS returns the configuration of the controller's listener for agents.
// A client certificate may be missing (an agent that enrols has none yet) but
// never wrong: one that does not lead to one of the roots, has expired or is
// not meant for clients ends the handshake. The certificate function is told
// the hints of the roots that the agent trusts, see HintName; the chain it
// returns must include the root, for agents that know only its pin.
func ServerTLS(roots []*x509.Certificate, certificate func(hints []string) (*tls.Certificate, error), now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		ClientCAs:              poolOf(roots...),
		SessionTicketsDisabled: true,
		Time:                   now,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate(Hints(hello.ServerName))
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

// ReadAgent reads a client certificate chain (DER, leaf first) that a
// controller signed, and returns the leaf and the agent's id. It fails with
// Invalid for what is no certificate, and with Unauthenticated for one that is
// not for clients or does not name an agent. Who signed it and until when it is
// good is the controller's to judge: the agent shows it and no more.
func ReadAgent(chain [][]byte) (*x509.Certificate, string, error) {
	if len(chain) == 0 {
		return nil, "", apperr.New(apperr.Invalid, "the certificate chain is empty")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, "", apperr.Wrap(apperr.Invalid, err, "not a certificate")
	}
	if leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return nil, "", apperr.New(apperr.Unauthenticated, "the certificate is not meant for clients")
	}
	id, err := AgentID(leaf)
	return leaf, id, err
}

func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}
