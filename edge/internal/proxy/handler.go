// Package proxy serves requests by the routes of a table, as a handler module
// of Caddy: the routes change under it while Caddy's own configuration stays,
// so that a change neither closes a connection nor ends a WebSocket.
package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"fairlead.dev/edge/internal/table"
	"fairlead.dev/shared/edgeapi"
)

// HandlerID is the module's name in Caddy's configuration.
const HandlerID = "http.handlers.fairlead"

// holdOn is how long a request waits for an upstream that can be reached, as
// while a container is replaced by one that cannot run beside it.
const holdOn = 5 * time.Second

// Handler serves requests by the routes of a table.
type Handler struct {
	table *table.Table
	// httpsPort is the port clients reach https at.
	httpsPort int
	proxy     *reverseproxy.Handler
	log       *zap.Logger
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

// New returns the module, to be registered with Caddy once in a process: what
// Caddy makes of it serves the same table.
func New(t *table.Table, httpsPort int) *Handler {
	return &Handler{table: t, httpsPort: httpsPort}
}

// CaddyModule tells Caddy how to make handlers.
func (h *Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: HandlerID, New: func() caddy.Module { return New(h.table, h.httpsPort) }}
}

// Provision has the handler ready to serve.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.proxy = &reverseproxy.Handler{
		Transport:        newTransport(net.DefaultResolver),
		DynamicUpstreams: upstreams{},
		LoadBalancing: &reverseproxy.LoadBalancing{
			TryDuration: caddy.Duration(holdOn), TryInterval: caddy.Duration(50 * time.Millisecond),
		},
		// Events and long answers go out as they come.
		FlushInterval: caddy.Duration(-1),
	}
	h.log = ctx.Logger()
	return h.proxy.Provision(ctx)
}

// Cleanup ends what Provision began.
func (h *Handler) Cleanup() error { return h.proxy.Cleanup() }

// ServeHTTP answers a request by its route.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	route, found := h.table.Find(r.Host, r.URL.Path)
	if !found {
		return say(w, http.StatusNotFound, "nothing is served here")
	}
	if route.TLS && r.TLS == nil {
		return h.secure(w, r, route)
	}
	if route.CORS != nil && allowOrigins(w, r, *route.CORS) {
		return nil
	}
	if route.MaxBody > 0 {
		if r.ContentLength > route.MaxBody {
			return say(w, http.StatusRequestEntityTooLarge, "the body is larger than this route takes")
		}
		r.Body = http.MaxBytesReader(w, r.Body, route.MaxBody)
	}
	lease := &claim{Lease: h.table.Lease(r.Host, r.URL.Path)}
	defer lease.End()
	if route.StripPath {
		strip(r, route.Path)
	}
	r = r.WithContext(context.WithValue(r.Context(), leaseKey{}, lease))
	return h.explain(w, route, h.proxy.ServeHTTP(w, r, next))
}

// explain answers a request that could not be served.
func (h *Handler) explain(w http.ResponseWriter, route edgeapi.Route, err error) error {
	if err == nil {
		return nil
	}
	var tooLarge *http.MaxBytesError
	var said caddyhttp.HandlerError
	switch {
	case errors.As(err, &tooLarge):
		return say(w, http.StatusRequestEntityTooLarge, "the body is larger than this route takes")
	case len(route.Upstreams) == 0:
		return say(w, http.StatusServiceUnavailable, "no container serves this at the moment")
	case errors.As(err, &said) && said.StatusCode != 0:
		h.log.Warn("a request could not be served", zap.String("host", route.Host), zap.String("path", route.Path),
			zap.String("route", route.Name), zap.Error(err))
		return say(w, said.StatusCode, "the container that serves this does not answer")
	}
	return err
}

// secure sends a plain request on to https.
func (h *Handler) secure(w http.ResponseWriter, r *http.Request, route edgeapi.Route) error {
	host := route.Host
	if h.httpsPort != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(h.httpsPort))
	}
	w.Header().Set("Connection", "close")
	// The host is the route's, whatever the client said.
	to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
	return nil
}

func say(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write([]byte(text + "\n"))
	return err
}

// allowOrigins lets pages of other origins use the route, without the cookies
// of their visitors. It reports whether it has answered: a preflight never
// gets to the container.
func allowOrigins(w http.ResponseWriter, r *http.Request, c edgeapi.CORS) (answered bool) {
	if r.Header.Get("Origin") == "" {
		return false
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST, DELETE, PATCH, OPTIONS")
	header.Set("Access-Control-Allow-Headers", strings.Join(c.AllowHeaders, ", "))
	header.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// strip takes a route's path off a request's.
func strip(r *http.Request, path string) {
	if path == "/" {
		return
	}
	cut := func(p string) string {
		p = strings.TrimPrefix(p, path)
		if !strings.HasPrefix(p, "/") {
			p = "/" + p
		}
		return p
	}
	if r.URL.RawPath != "" && strings.HasPrefix(r.URL.RawPath, path) {
		r.URL.RawPath = cut(r.URL.RawPath)
	} else {
		r.URL.RawPath = ""
	}
	r.URL.Path = cut(r.URL.Path)
}
