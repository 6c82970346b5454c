package certs

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// ModuleName is the module's name in Caddy's configuration, under
// tls.get_certificate.
const ModuleName = "fairlead"

// Module gives Caddy a keeper's certificates.
type Module struct{ keeper *Keeper }

var _ certmagic.Manager = (*Module)(nil)

// Module returns the module, to be registered with Caddy once in a process.
func (k *Keeper) Module() *Module { return &Module{keeper: k} }

// CaddyModule tells Caddy how to make the module.
func (m *Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.get_certificate." + ModuleName, New: func() caddy.Module { return &Module{keeper: m.keeper} }}
}

// GetCertificate returns the certificate for a handshake, or nothing.
func (m *Module) GetCertificate(_ context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.keeper.GetCertificate(hello), nil
}

// Denial keeps Caddy from getting certificates by itself, for whatever name a
// client says. Without it, having a manager would let it.
type Denial struct{}

var _ caddytls.OnDemandPermission = Denial{}

// CaddyModule tells Caddy how to make the module.
func (Denial) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission." + ModuleName, New: func() caddy.Module { return new(Denial) }}
}

// CertificateAllowed allows none.
func (Denial) CertificateAllowed(_ context.Context, name string) error {
	return fmt.Errorf("%s: %w", name, caddytls.ErrPermissionDenied)
}
