package reach

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"fairlead.dev/shared/pki"
)

// lookTimeout bounds a look at a stranger.
const lookTimeout = 5 * time.Second

// nameIssuer adds to a problem whose certificate it is that is shown to
// clients who ask for less than an agent does. Nothing is sent but a greeting.
func (p *Path) nameIssuer(ctx context.Context, problem *Problem, serverName string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	raw, err := p.dial(ctx)
	if err != nil {
		return
	}
	defer func() { _ = raw.Close() }()
	//nolint:gosec // nothing is believed and nothing is said; who is there, however old it is, is what is looked for
	conn := tls.Client(raw, &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true})
	if err := conn.HandshakeContext(ctx); err != nil {
		return
	}
	if shown := conn.ConnectionState().PeerCertificates; len(shown) > 0 {
		problem.What += fmt.Sprintf("; its certificate is for %q, issued by %q", pki.NameOf(shown[0]), shown[0].Issuer)
	}
}
