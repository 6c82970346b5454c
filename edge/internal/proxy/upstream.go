package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"fairlead.dev/edge/internal/table"
	"fairlead.dev/shared/edgeapi"
)

type leaseKey struct{}

type upstreamKey struct{}

// upstreams gives the proxy, for each attempt, the one upstream that the
// table picks.
type upstreams struct{}

// GetUpstreams returns the upstream of a request's next attempt.
func (upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	lease, ok := r.Context().Value(leaseKey{}).(*claim)
	if !ok {
		return nil, errors.New("the request has no route")
	}
	u, found := lease.Next()
	if !found {
		return []*reverseproxy.Upstream{}, nil
	}
	lease.picked = u
	// The id is part of the address, so that connections are never shared with
	// another container that comes to the same name or address.
	return []*reverseproxy.Upstream{{Dial: net.JoinHostPort(u.ID, strconv.Itoa(u.Port))}}, nil
}

// claim is a request's lease with the upstream of its present attempt.
type claim struct {
	*table.Lease
	picked edgeapi.Upstream
}

// resolver looks up hosts.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// transport speaks HTTP with upstreams.
type transport struct{ *http.Transport }

const (
	dialTimeout = 3 * time.Second
	// idleFor is how long a connection to an upstream is kept for the next request.
	idleFor        = time.Minute
	idleConnsEach  = 64
	keepAliveProbe = 30 * time.Second
)

func newTransport(names resolver) transport {
	d := dialer{names: names, net: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAliveProbe}}
	return transport{&http.Transport{
		DialContext: d.dial, MaxIdleConnsPerHost: idleConnsEach, IdleConnTimeout: idleFor, DisableCompression: true,
	}}
}

// RoundTrip sends a request to the upstream of its attempt.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Scheme = "http"
	if lease, ok := r.Context().Value(leaseKey{}).(*claim); ok {
		r = r.WithContext(context.WithValue(r.Context(), upstreamKey{}, lease.picked))
	}
	return t.Transport.RoundTrip(r)
}

// dialer connects to upstreams.
type dialer struct {
	names resolver
	net   net.Dialer
}

// dial connects to the upstream that the context names. Its name is looked up
// anew, because a container may come back with another address, and its old
// one may be somebody else's by then. Only when no name server answers, as
// while the engine is away and can move nobody, does the last address serve.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	u, ok := ctx.Value(upstreamKey{}).(edgeapi.Upstream)
	if !ok {
		return nil, reverseproxy.NewDialError(errors.New("connect to " + address + ": the request has no upstream"))
	}
	host, err := d.resolve(ctx, u)
	if err != nil {
		return nil, reverseproxy.NewDialError(err)
	}
	conn, err := d.net.DialContext(ctx, network, net.JoinHostPort(host, strconv.Itoa(u.Port)))
	if err != nil {
		return nil, reverseproxy.NewDialError(err)
	}
	return conn, nil
}

func (d dialer) resolve(ctx context.Context, u edgeapi.Upstream) (string, error) {
	if u.Host == "" {
		return u.Address, nil
	}
	found, err := d.names.LookupHost(ctx, u.Host)
	if err == nil && len(found) > 0 {
		return found[0], nil
	}
	var failed *net.DNSError
	if errors.As(err, &failed) && !failed.IsNotFound && u.Address != "" {
		return u.Address, nil
	}
	return "", err
}
