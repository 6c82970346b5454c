package reach

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc/credentials"
)

// Check connects and does the TLS handshake, and closes the connection again.
// It returns what TLS came about, and fails with a *Problem.
func (p *Path) Check(ctx context.Context, config *tls.Config) (tls.ConnectionState, error) {
	raw, err := p.Dial(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = raw.Close() }()
	conn, info, err := (&pathCredentials{credentials.NewTLS(config), p}).ClientHandshake(ctx, config.ServerName, raw)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	if met, ok := info.(credentials.TLSInfo); ok {
		return met.State, nil
	}
	return tls.ConnectionState{}, nil
}
