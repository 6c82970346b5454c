package agentrpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"fairlead.dev/shared/pki"
)

// Authority is what the listener needs of the private roots.
type Authority interface {
	// Accepted returns the roots that agents' certificates may lead to, and
	// that agents are to trust, oldest first.
	Accepted() []*x509.Certificate
	// Server returns the listener's certificate for an agent that gave these
	// hints; see pki.HintName.
	Server(hints []string) (*tls.Certificate, error)
	// Changed returns a channel that is closed at the next change.
	Changed() <-chan struct{}
	// Agent signs an agent's certificate.
	Agent(agentID string, key *ecdsa.PublicKey, notBefore, notAfter time.Time) ([][]byte, error)
}

// listenerCredentials are TLS by the roots of the moment: a connection is
// judged by those there are when it comes. One configuration serves all
// connections until the roots change, so that it costs a connection nothing.
type listenerCredentials struct {
	credentials.TransportCredentials // by the first roots, for what does not depend on them

	authority Authority
	now       func() time.Time

	// strangers counts connections without a certificate.
	strangers atomic.Int64

	mu      sync.Mutex
	present credentials.TransportCredentials
	changed <-chan struct{}
}

func newCredentials(authority Authority, now func() time.Time) *listenerCredentials {
	c := &listenerCredentials{authority: authority, now: now}
	c.TransportCredentials = c.latest()
	return c
}

// ServerHandshake does the handshake of one connection.
func (c *listenerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := c.latest().ServerHandshake(conn)
	if err != nil {
		return secure, info, err
	}
	bounded, err := c.guest(secure, info)
	return bounded, info, err
}

// ClientHandshake is not for a listener.
func (c *listenerCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.latest().ClientHandshake(ctx, authority, conn)
}

// Clone returns the same credentials: the roots they follow are one.
func (c *listenerCredentials) Clone() credentials.TransportCredentials { return c }

func (c *listenerCredentials) latest() credentials.TransportCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.changed:
	default:
		if c.present != nil {
			return c.present
		}
	}
	c.changed = c.authority.Changed()
	c.present = credentials.NewTLS(pki.ServerTLS(c.authority.Accepted(), c.authority.Server, c.now))
	return c.present
}
