package app

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/route"
	"fairlead.dev/shared/buildinfo"
)

// Ways to serve what deployments expose.
const (
	// RoutingEdge runs a proxy of the agent's own.
	RoutingEdge = "edge"
	// RoutingTraefik labels containers for a Traefik that is there.
	RoutingTraefik = "traefik"
	// RoutingOff refuses to.
	RoutingOff = "off"
)

// Routing says how what deployments expose is served.
type Routing struct {
	// Mode is one of the Routing constants; empty means RoutingEdge.
	Mode string
	// Edge and Traefik are read in their mode.
	Edge    route.Options
	Traefik route.TraefikOptions
	// ACMERootsFile holds Edge.ACMERoots.
	ACMERootsFile string
	// DefaultDomain is what deployments without a domain get a name under.
	DefaultDomain string
}

// router builds what serves routes; nil when nothing does.
func (r Routing) router(engine *client.Client, stateDir string, fetch route.Fetch, log *slog.Logger) (docker.Router, error) {
	switch r.Mode {
	case RoutingOff:
		return nil, nil
	case RoutingTraefik:
		o := r.Traefik
		o.DefaultDomain = r.DefaultDomain
		return route.NewTraefik(o), nil
	}
	o := r.Edge
	if r.ACMERootsFile != "" {
		roots, err := os.ReadFile(r.ACMERootsFile)
		if err != nil {
			return nil, fmt.Errorf("read the roots of the certificate authority: %w", err)
		}
		o.ACMERoots = string(roots)
	}
	o.StateDir, o.DefaultDomain, o.Artifact, o.Fetch, o.Logger = stateDir, r.DefaultDomain, buildinfo.EdgeArtifact(), fetch, log
	return route.NewEdge(engine, o), nil
}
