package main

import (
	"flag"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"fairlead.dev/dagent/internal/app"
)

// routingValues are the flags that say how what deployments expose is served.
type routingValues struct {
	app.Routing
	httpPort, httpsPort, trusted string
}

func routingFlags(flags *flag.FlagSet, getenv func(string) string) *routingValues {
	v := &routingValues{}
	text := func(at *string, name, variable, what string) {
		flags.StringVar(at, name, getenv(variable), what+" ("+variable+")")
	}
	text(&v.Mode, "routing", "DAGENT_ROUTING",
		"how what deployments expose is served: edge (a proxy of the agent's own, when nothing is said), traefik (labels for one that is there), off")
	text(&v.DefaultDomain, "default-domain", "DAGENT_DEFAULT_DOMAIN", "`domain` that deployments without one get <name>.<prefix> under")
	text(&v.httpPort, "http-port", "DAGENT_HTTP_PORT", "`port` the edge serves http on, 80 when nothing is said")
	text(&v.httpsPort, "https-port", "DAGENT_HTTPS_PORT", "`port` the edge serves https on, 443 when nothing is said")
	text(&v.Edge.ACMEEmail, "acme-email", "DAGENT_ACME_EMAIL", "e-mail `address` the certificate authority is told")
	text(&v.Edge.ACMEDirectory, "acme-directory", "DAGENT_ACME_DIRECTORY", "`URL` of the certificate authority's directory; Let's Encrypt's when empty")
	text(&v.ACMERootsFile, "acme-roots", "DAGENT_ACME_ROOTS", "`file` with roots in PEM that the directory is trusted by")
	text(&v.trusted, "trusted-proxies", "DAGENT_TRUSTED_PROXIES", "`networks` whose X-Forwarded headers are believed, separated by ','")
	text(&v.Edge.Image, "edge-image", "DAGENT_EDGE_IMAGE", "`image` on the engine for the edge, in place of the controller's")
	text(&v.Traefik.Network, "traefik-network", "DAGENT_TRAEFIK_NETWORK", "`network` Traefik reaches containers through")
	text(&v.Traefik.EntryPoint, "traefik-entrypoint", "DAGENT_TRAEFIK_ENTRYPOINT", "Traefik's entry `point` for http, web when nothing is said")
	text(&v.Traefik.SecureEntryPoint, "traefik-secure-entrypoint", "DAGENT_TRAEFIK_SECURE_ENTRYPOINT", "Traefik's entry `point` for https, websecure when nothing is said")
	text(&v.Traefik.CertResolver, "traefik-cert-resolver", "DAGENT_TRAEFIK_CERT_RESOLVER", "Traefik's certificate `resolver`, le when nothing is said")
	return v
}

func (v *routingValues) routing() (r app.Routing, err error) {
	if v.Edge.HTTPPort, err = portOf("http-port", v.httpPort); err != nil {
		return r, err
	}
	if v.Edge.HTTPSPort, err = portOf("https-port", v.httpsPort); err != nil {
		return r, err
	}
	for _, n := range strings.FieldsFunc(v.trusted, func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, _, err := net.ParseCIDR(n); err != nil {
			return r, fmt.Errorf("trusted-proxies: %q must be a network such as 10.0.0.0/8", n)
		}
		v.Edge.TrustedProxies = append(v.Edge.TrustedProxies, n)
	}
	if d := v.Edge.ACMEDirectory; d != "" {
		if parsed, err := url.Parse(d); err != nil || parsed.Scheme != "https" || parsed.Host == "" {
			return r, fmt.Errorf("acme-directory: %q must be an https URL", d)
		}
	}
	switch v.Mode {
	case "", app.RoutingEdge, app.RoutingOff:
	case app.RoutingTraefik:
		if v.Traefik.Network == "" {
			return r, fmt.Errorf("traefik-network: is missing; routing by Traefik needs the network that it reaches containers through")
		}
	default:
		return r, fmt.Errorf("routing: %q must be edge, traefik or off", v.Mode)
	}
	return v.Routing, nil
}

func portOf(name, text string) (int, error) {
	if text == "" {
		return 0, nil // the router's own
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, fmt.Errorf("%s: %q must be a port, 1 to 65535", name, text)
	}
	return port, nil
}
