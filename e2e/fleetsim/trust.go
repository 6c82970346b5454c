package fleetsim

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/shared/pki"
)

// trust is what all agents of a fleet know of their controller: a pin, and
// after the first meeting its root certificate.
type trust struct {
	pin pki.Pin

	mu   sync.Mutex
	pool *x509.CertPool
}

func newTrust(pin pki.Pin) *trust { return &trust{pin: pin} }

// config connects as the owner of a certificate, or as nobody yet.
func (t *trust) config(own *tls.Certificate) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: pki.ServerName,
		// The root is known by its pin alone: VerifyConnection verifies.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   t.verify,
	}
	if own != nil {
		c.Certificates = []tls.Certificate{*own}
	}
	return c
}

func (t *trust) verify(state tls.ConnectionState) error {
	pool, err := t.roots(state.PeerCertificates)
	if err != nil {
		return err
	}
	_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: pki.ServerName, Roots: pool, CurrentTime: time.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the server does not prove to be the controller: %w", err)
	}
	return nil
}

func (t *trust) roots(presented []*x509.Certificate) (*x509.CertPool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pool != nil {
		return t.pool, nil
	}
	i := slices.IndexFunc(presented, func(c *x509.Certificate) bool { return pki.PinOf(c) == t.pin })
	if i < 0 {
		return nil, errors.New("the server does not present the pinned root certificate")
	}
	t.pool = x509.NewCertPool()
	t.pool.AddCert(presented[i])
	return t.pool, nil
}
