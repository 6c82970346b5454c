// Package app builds the edge's parts and runs them.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // caddyConfig names them
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/edge/internal/admin"
	"fairlead.dev/edge/internal/certs"
	"fairlead.dev/edge/internal/proxy"
	"fairlead.dev/edge/internal/table"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/edgeapi"
)

// Config is what the edge is told on its command line.
type Config struct {
	// Dir is the folder the edge keeps everything in, its socket too.
	Dir string
	// HTTPPort and HTTPSPort are listened on; clients reach them by the same
	// numbers.
	HTTPPort, HTTPSPort int
	// TrustedProxies are the networks whose X-Forwarded-* headers are believed.
	TrustedProxies []string
	// Grace is how long requests may take to end when the edge is told to.
	Grace time.Duration
}

const tableFile = "routes.json"

// Run serves until ctx ends.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	routes, err := table.Open(filepath.Join(config.Dir, tableFile), time.Now)
	if err != nil {
		return err
	}
	e := &edge{table: routes, log: log}
	// Registration is for good: one edge to a process.
	caddy.RegisterModule(proxy.New(routes, config.HTTPSPort))
	e.certs = certs.New(certs.Config{
		Folder: filepath.Join(config.Dir, "certificates"), HTTPPort: config.HTTPPort, HTTPSPort: config.HTTPSPort,
		Log: caddy.Log().Named("certificates"),
	})
	caddy.RegisterModule(e.certs.Module())
	caddy.RegisterModule(certs.Denial{})
	raw, err := caddyConfig(config)
	if err != nil {
		return err
	}
	listener, err := listen(filepath.Join(config.Dir, edgeapi.SocketName))
	if err != nil {
		return err
	}
	if err := caddy.Load(raw, true); err != nil {
		return errors.Join(fmt.Errorf("begin to serve: %w", err), listener.Close())
	}
	log.Info("serving", "version", buildinfo.Version(), "http", config.HTTPPort, "https", config.HTTPSPort)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.certs.Run(ctx, routes.Settings(), routes.TLSHosts()) })
	server := &http.Server{Handler: admin.Handler(e), ReadHeaderTimeout: 10 * time.Second}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("listen to the agent: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return errors.Join(caddy.Stop(), server.Close())
	})
	return group.Wait()
}

// listen makes the socket, which only the edge's own user and root may use.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the agent's socket: %w", err)
	}
	// Under another name first: it must not be open to others for a moment.
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the agent's socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the agent's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(fresh, 0o600)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the agent's socket: %w", err), listener.Close())
	}
	return listener, nil
}

// edge is what the agent steers.
type edge struct {
	table *table.Table
	certs *certs.Keeper
	log   *slog.Logger
}

func (e *edge) SetRoutes(owner string, routes []edgeapi.Route, check bool) error {
	if check {
		return e.table.Check(owner, routes)
	}
	if err := e.table.Set(owner, routes); err != nil {
		return err
	}
	e.certs.Want(e.table.TLSHosts())
	e.log.Info("routes set", "owner", owner, "routes", len(routes))
	return nil
}

func (e *edge) Configure(s edgeapi.Settings) error {
	changed, err := e.table.Configure(s)
	if err != nil || !changed {
		return err
	}
	return e.certs.Configure(s)
}

func (e *edge) Drain(ctx context.Context, upstreams []string) int {
	return e.table.Drain(ctx, upstreams)
}

func (e *edge) State() edgeapi.State {
	state := e.table.State()
	state.Version, state.Certs = buildinfo.Version(), e.certs.State()
	return state
}

// caddyConfig is Caddy's configuration, which never changes: two servers with
// one handler, and certificates from the keeper. Its own admin endpoint, its
// own certificates and its autosave are off.
func caddyConfig(c Config) ([]byte, error) {
	type m = map[string]any
	server := func(port int, protocols ...string) m {
		s := m{
			"listen":              []string{":" + strconv.Itoa(port)},
			"protocols":           protocols,
			"read_header_timeout": "15s",
			"idle_timeout":        "3m",
			"automatic_https":     m{"disable": true},
			"routes":              []m{{"handle": []m{{"handler": "fairlead"}}}},
		}
		if len(c.TrustedProxies) > 0 {
			s["trusted_proxies"] = m{"source": "static", "ranges": c.TrustedProxies}
			s["trusted_proxies_strict"] = 1
		}
		return s
	}
	plain := server(c.HTTPPort, "h1", "h2c")
	secure := server(c.HTTPSPort, "h1", "h2", "h3")
	secure["tls_connection_policies"] = []m{{}}
	raw, err := json.Marshal(m{
		"admin": m{"disabled": true, "config": m{"persist": false}},
		"logging": m{"logs": m{"default": m{
			"writer": m{"output": "stderr"}, "encoder": m{"format": "json"}, "level": "INFO",
		}}},
		"storage": m{"module": "file_system", "root": filepath.Join(c.Dir, "caddy")},
		"apps": m{
			"http": m{
				"http_port": c.HTTPPort, "https_port": c.HTTPSPort, "grace_period": c.Grace.String(),
				"servers": m{"plain": plain, "secure": secure},
			},
			"tls": m{
				"automation": m{"on_demand": m{"permission": m{"module": certs.ModuleName}}, "policies": []m{{
					"get_certificate": []m{{"via": certs.ModuleName}},
				}}},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	return raw, nil
}
