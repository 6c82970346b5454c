package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRoutingSettings(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string // in what is told on stderr; empty when it is fine
	}{
		"edge":                  {env: map[string]string{"DAGENT_HTTP_PORT": "8080", "DAGENT_ACME_EMAIL": "a@b.test", "DAGENT_TRUSTED_PROXIES": "10.0.0.0/8, ::1/128"}},
		"traefik":               {env: map[string]string{"DAGENT_ROUTING": "traefik", "DAGENT_TRAEFIK_NETWORK": "web"}},
		"off":                   {args: []string{"--routing", "off"}},
		"unknown":               {args: []string{"--routing", "nginx"}, want: "must be edge, traefik or off"},
		"traefik, no network":   {args: []string{"--routing", "traefik"}, want: "traefik-network"},
		"port":                  {args: []string{"--https-port", "70000"}, want: "https-port"},
		"proxies":               {args: []string{"--trusted-proxies", "everybody"}, want: "trusted-proxies"},
		"authority without TLS": {args: []string{"--acme-directory", "http://ca.test/dir"}, want: "acme-directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			got, err := parse("run", c.args, func(k string) string { return c.env[k] }, &stderr)
			if (err != nil) != (c.want != "") || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("got %+v, %v, told %q; want it told of %q", got.app.Routing, err, &stderr, c.want)
			}
		})
	}
}
