package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/bulkpb"
	replicav1 "fairlead.dev/protobuf/gen/fairlead/replica/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

const (
	// window is fixed, as at the other end: what a stuck reader keeps in the
	// transport is this much and no more.
	window     = 64 << 10
	readBuffer = 4 << 10

	connectTimeout = 3 * time.Second
	pingEvery      = 15 * time.Second
	pingTimeout    = 5 * time.Second
	// answerTimeout bounds the calls that carry nothing.
	answerTimeout = 3 * time.Second

	// streamsPerConnection stays below what the agents' listener lets one
	// connection have.
	streamsPerConnection = 48
)

// CertificateLifetime is how long a replica's certificate is valid; the next
// one is made at half of that.
const CertificateLifetime = 24 * time.Hour

// ClientConfig is what a Client needs.
type ClientConfig struct {
	// Roots are those that the other replicas' listeners lead to.
	Roots func() []*x509.Certificate
	// Sign makes a certificate that names this replica.
	Sign func(notBefore, notAfter time.Time) (*tls.Certificate, error)
	// Patience is how long an agent may take to come; see bulk.Limits.
	Patience time.Duration
	Now      func() time.Time
}

// Client calls the other replicas. Connections are made when they are first
// used.
type Client struct {
	ClientConfig

	mu     sync.Mutex
	own    *tls.Certificate
	until  time.Time
	conns  map[string][]*conn
	closed bool
}

// conn is one connection and how many streams are on it.
type conn struct {
	*grpc.ClientConn
	streams int
}

// NewClient returns a client; Close ends its connections.
func NewClient(c ClientConfig) *Client {
	return &Client{ClientConfig: c, conns: map[string][]*conn{}}
}

// Close ends every connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, list := range c.conns {
		for _, one := range list {
			errs = append(errs, one.Close())
		}
	}
	clear(c.conns)
	return errors.Join(errs...)
}

// certificate is this replica's, made anew at half of its life.
func (c *Client) certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	if c.own != nil && now.Before(c.until.Add(-CertificateLifetime/2)) {
		return c.own, nil
	}
	until := now.Add(CertificateLifetime)
	own, err := c.Sign(now.Add(-pki.Skew), until)
	if err != nil {
		return nil, fmt.Errorf("make this replica's certificate: %w", err)
	}
	c.own, c.until = own, until
	return own, nil
}

// to returns a connection with room for one more stream, and what to call when
// that stream has ended.
func (c *Client) to(address string) (replicav1.RelayServiceClient, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, apperr.New(apperr.Unavailable, "the controller is stopping; come back").WithReason(bulk.ReasonStopping)
	}
	var free *conn
	for _, one := range c.conns[address] {
		if one.streams < streamsPerConnection {
			free = one
			break
		}
	}
	if free == nil {
		made, err := c.dial(address)
		if err != nil {
			return nil, nil, err
		}
		free = &conn{ClientConn: made}
		c.conns[address] = append(c.conns[address], free)
	}
	free.streams++
	return replicav1.NewRelayServiceClient(free), sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		free.streams--
	}), nil
}

func (c *Client) dial(address string) (*grpc.ClientConn, error) {
	made, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(pki.ReplicaTLS(c.Roots, c.certificate, c.Now))),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectTimeout},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(specpb.MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the replica at %s: %w", address, err)
	}
	return made, nil
}

// Open asks the replica that has a session for a stream of its agent. The
// stream ends with ctx. Errors are those of bulk.Broker.Open, and Unavailable
// with bulk.ReasonPeerAway when the replica does not answer.
func (c *Client) Open(ctx context.Context, o bulk.Owner, r bulk.Request) (bulk.Stream, error) {
	client, done, err := c.to(o.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &remote{cancel: cancel, left: done}
	late := time.AfterFunc(c.Patience+connectTimeout, cancel)
	defer late.Stop()
	s.call, err = client.Carry(ctx)
	if err != nil {
		s.Close(nil)
		return nil, fromStatus(err)
	}
	open := &replicav1.RelayOpen{
		Session: &replicav1.Session{AgentId: o.AgentID.String(), Epoch: uint64(o.Epoch)}, Request: bulkpb.Request(r),
	}
	if err := s.call.Send(&replicav1.RelayDown{Body: &replicav1.RelayDown_Open{Open: open}}); err != nil && !errors.Is(err, io.EOF) {
		s.Close(nil)
		return nil, fromStatus(err)
	}
	first, err := s.call.Recv() // also tells why Send failed
	if err != nil {
		s.Close(nil)
		return nil, fromStatus(err)
	}
	if first.GetOpened() == nil {
		s.Close(nil)
		return nil, fmt.Errorf("the replica at %s began with %T", o.Address, first.GetBody())
	}
	return s, nil
}

// remote is a stream of a session that another replica has.
type remote struct {
	call   grpc.BidiStreamingClient[replicav1.RelayDown, replicav1.RelayUp]
	cancel context.CancelFunc
	left   func()
	ended  bool // read and written by Recv's caller only

	mu    sync.Mutex
	cause error
}

// Recv implements bulk.Stream.
func (r *remote) Recv() (bulk.Up, error) {
	if r.ended {
		return bulk.Up{}, io.EOF
	}
	m, err := r.call.Recv()
	if err != nil {
		return bulk.Up{}, r.why(err)
	}
	up, err := bulkpb.UpFrom(m.GetUp())
	r.ended = up.End != nil
	return up, err
}

// Send implements bulk.Stream.
func (r *remote) Send(d bulk.Down) error {
	err := r.call.Send(&replicav1.RelayDown{Body: &replicav1.RelayDown_Down{Down: bulkpb.Down(d)}})
	if err != nil {
		return r.why(err)
	}
	return nil
}

// Close implements bulk.Stream.
func (r *remote) Close(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	r.mu.Lock()
	if r.cause == nil {
		r.cause = cause
	}
	r.mu.Unlock()
	r.cancel()
	r.left()
}

func (r *remote) why(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return r.cause
	}
	return fromStatus(err)
}

// Ping asks the replica at an address whether an agent of its is alive.
// Precondition with bulk.ReasonNotHere when it does not have that session.
func (c *Client) Ping(ctx context.Context, address string, agentID uuid.UUID, epoch int64) (alive bool, bootID string, err error) {
	client, done, err := c.to(address)
	if err != nil {
		return false, "", err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := client.Ping(ctx, &replicav1.PingRequest{Session: &replicav1.Session{AgentId: agentID.String(), Epoch: uint64(epoch)}})
	if err != nil {
		return false, "", fromStatus(err)
	}
	return answer.GetAlive(), answer.GetBootId(), nil
}

// Health asks the replica at an address what it can do.
func (c *Client) Health(ctx context.Context, address string) (Health, error) {
	client, done, err := c.to(address)
	if err != nil {
		return Health{}, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := client.Health(ctx, &replicav1.HealthRequest{})
	if err != nil {
		return Health{}, fromStatus(err)
	}
	return Health{Database: answer.GetDatabase(), Accepting: answer.GetAccepting()}, nil
}
