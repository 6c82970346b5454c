package reach

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// Path is the way to one controller. It makes connections, directly or through
// the proxy that HTTPS_PROXY names, and remembers what was wrong with the last
// one. It is safe for concurrent use.
type Path struct {
	address string
	now     func() time.Time

	mu   sync.Mutex
	last *Problem
}

// To returns the way to a controller's agent address, host:port. Now is the
// clock certificates are judged by.
func To(address string, now func() time.Time) *Path { return &Path{address: address, now: now} }

// Target is what to give to grpc.NewClient: the name is resolved anew for each
// connection, and by the proxy where there is one.
func (p *Path) Target() string { return "passthrough:///" + p.address }

// Options make gRPC go this way, with TLS by config, and make errors of calls
// that fail on the way problems.
func (p *Path) Options(config *tls.Config) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.Dial(ctx) }),
		grpc.WithTransportCredentials(&pathCredentials{credentials.NewTLS(config), p}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, ask, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return p.Explain(call(ctx, method, ask, answer, conn, opts...))
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, conn, method, opts...)
			if err != nil {
				return nil, p.Explain(err)
			}
			return explained{stream, p}, nil
		}),
	}
}

// Explain returns the problem behind a call's error; any other error as it is.
func (p *Path) Explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
	default:
		return err
	}
	last := p.problem()
	if last == nil {
		return err
	}
	copied := *last
	copied.Call = err
	return &copied
}

func (p *Path) problem() *Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *Path) note(found *Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = found
}

// Proxy returns the proxy that the environment names for this way; nil when
// there is none.
func (p *Path) Proxy() (*url.URL, error) {
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: p.address})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY: %w", err)
	}
	return proxy, nil
}

// Dial makes a connection over which TLS can begin. It fails with a *Problem.
func (p *Path) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.dial(ctx)
	if err == nil {
		return conn, nil
	}
	problem := explainDial(err, p.address)
	p.note(problem)
	return nil, problem
}

func (p *Path) dial(ctx context.Context) (net.Conn, error) {
	proxy, err := p.Proxy()
	if err != nil {
		return nil, &Problem{Kind: Proxy, Err: err, What: "HTTPS_PROXY is set to something that is no proxy's address: " + err.Error(),
			Fix: "Correct or remove it in the agent's environment"}
	}
	if proxy == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	}
	conn, err := connect(ctx, proxy, p.address)
	if err != nil {
		return nil, &Problem{Kind: Proxy, Err: err,
			What: fmt.Sprintf("the proxy %s, which HTTPS_PROXY names, gives no way to %s: %v", proxy.Host, p.address, err),
			Fix: fmt.Sprintf("Have the proxy allow CONNECT to %s, or name the controller's host in NO_PROXY in the agent's environment "+
				"where it can be reached without the proxy", p.address)}
	}
	return conn, nil
}

// handshaken explains how a handshake ended that was begun with a server name.
func (p *Path) handshaken(ctx context.Context, err error, conn *heard, serverName string) error {
	if err == nil {
		p.note(nil)
		return nil
	}
	problem := explainHandshake(err, p.hop(conn), conn.beginning(), p.now())
	if problem.Kind == HTTP1 || problem.Kind == OldTLS {
		p.nameIssuer(ctx, problem, serverName)
	}
	p.note(problem)
	return problem
}

// hop names where a connection leads.
func (p *Path) hop(conn net.Conn) string {
	peer := conn.RemoteAddr().String()
	if proxy, err := p.Proxy(); err == nil && proxy != nil {
		return fmt.Sprintf("%s (through the proxy %s)", p.address, proxy.Host)
	}
	if peer == p.address {
		return peer
	}
	return fmt.Sprintf("%s (%s)", p.address, peer)
}

// pathCredentials are TLS whose failures are explained.
type pathCredentials struct {
	credentials.TransportCredentials
	path *Path
}

// ClientHandshake does a handshake and remembers what was wrong.
func (c *pathCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ears := &heard{Conn: raw}
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, ears)
	if err := c.path.handshaken(ctx, err, ears, authority); err != nil {
		return nil, nil, err
	}
	ears.enough()
	return &judged{Conn: conn, path: c.path}, info, nil
}

// Clone returns credentials for the same way.
func (c *pathCredentials) Clone() credentials.TransportCredentials {
	return &pathCredentials{c.TransportCredentials.Clone(), c.path}
}

// judged is a connection whose server proved itself and may still refuse the
// client, which it says by an alert in place of its first bytes.
type judged struct {
	net.Conn
	path  *Path
	spoke atomic.Bool
}

// parting is how long after a failed write the other side's last word is
// waited for: it closes without reading what we send, and says why before.
const parting = 250 * time.Millisecond

// Read reads, and remembers a refusal.
func (j *judged) Read(b []byte) (int, error) {
	n, err := j.Conn.Read(b)
	if n > 0 {
		j.spoke.Store(true)
	}
	switch {
	case err == nil:
	case alertText(err) != "":
		j.path.note(explainRejected(err, j.path.hop(j.Conn)))
	case !j.spoke.Load() && hungUp(err):
		j.path.note(explainLeft(err, j.path.hop(j.Conn)))
	}
	return n, err
}

// Write writes, and remembers a refusal that came in place of an answer.
func (j *judged) Write(b []byte) (int, error) {
	n, err := j.Conn.Write(b)
	if err != nil && !j.spoke.Load() {
		_ = j.SetReadDeadline(time.Now().Add(parting))
		_, _ = j.Read(make([]byte, 1))
	}
	return n, err
}

// heard keeps how the other side began until it is enough.
type heard struct {
	net.Conn

	mu   sync.Mutex
	said []byte
	done bool
}

// maxHeard is enough for the head of an HTTP answer.
const maxHeard = 4 << 10

// Read reads and listens.
func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.done && len(h.said) < maxHeard {
		h.said = append(h.said, b[:min(n, maxHeard-len(h.said))]...)
	}
	return n, err
}

func (h *heard) beginning() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said
}

func (h *heard) enough() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said, h.done = nil, true
}

// explained is a stream whose errors are explained.
type explained struct {
	grpc.ClientStream
	path *Path
}

// SendMsg sends.
func (s explained) SendMsg(m any) error { return s.path.Explain(s.ClientStream.SendMsg(m)) }

// RecvMsg receives.
func (s explained) RecvMsg(m any) error { return s.path.Explain(s.ClientStream.RecvMsg(m)) }

// statusOf is for messages.
func statusOf(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }
