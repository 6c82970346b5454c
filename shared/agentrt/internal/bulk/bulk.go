// Package bulk carries what is large or long over the agent's second
// connection: logs, terminals, artifacts. Nothing in it stands before an
// assignment or a heartbeat: it has a connection of its own, dialled when it is
// needed, and its memory is bounded.
package bulk

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/precondition"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

const (
	// MaxStreams is how many streams an agent carries at once. More are
	// refused.
	MaxStreams = 16
	// maxWaiting is how many requests may wait to be looked at.
	maxWaiting = 64
	// openTimeout bounds the opening of a stream, the dialling included.
	openTimeout = 30 * time.Second
	// closeTimeout is how long the controller may take to end a stream after
	// the agent's last word.
	closeTimeout = 10 * time.Second
)

// Driver is the part of workload.Driver that streams need.
type Driver interface {
	Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error
	Exec(ctx context.Context, id workload.ContainerID, opts workload.ExecOptions, streams workload.ExecStreams) (int, error)
}

// Config is what a Client is made of.
type Config struct {
	Driver Driver
	Check  precondition.Checker
	// Dial makes the second connection; it is not used before the first call.
	Dial func(*tls.Config) (*grpc.ClientConn, error)
	// Idle is how long a connection that nobody uses is kept; 0 means a minute.
	Idle time.Duration
	Now  func() time.Time
	Log  *slog.Logger
}

// Client serves the controller's requests for streams.
type Client struct {
	config   Config
	requests chan *agentv1.BulkRequest
	lines    *budget // of log lines, shared by the streams
	wire     *wire

	mu       sync.Mutex
	serving  int
	refusing int
}

// New returns a Client; Run makes it work.
func New(config Config) *Client {
	if config.Idle == 0 {
		config.Idle = time.Minute
	}
	return &Client{
		config:   config,
		requests: make(chan *agentv1.BulkRequest, maxWaiting),
		lines:    &budget{free: sharedBytes},
		wire:     &wire{dial: config.Dial, idle: config.Idle},
	}
}

// Use tells who the agent is and whom it trusts: what the next connection is
// dialled with.
func (c *Client) Use(identity *tls.Config) { c.wire.use(identity) }

// Request asks for a stream and never blocks. Of more requests at once than can
// be looked at, the last ones are left alone.
func (c *Client) Request(r *agentv1.BulkRequest) {
	select {
	case c.requests <- r:
	default:
		c.config.Log.Warn("more streams are asked for than can be refused", "stream", r.GetStreamId())
	}
}

// Run serves requests until ctx ends, which ends every stream.
func (c *Client) Run(ctx context.Context) error {
	defer c.wire.close()
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-c.requests:
			admitted, leave := c.admit()
			if leave == nil {
				c.config.Log.Warn("more streams are asked for than can be refused", "stream", r.GetStreamId())
				continue
			}
			streams.Go(func() {
				defer leave()
				if err := c.serve(ctx, r, admitted); err != nil && ctx.Err() == nil {
					c.config.Log.Debug("a stream broke", "stream", r.GetStreamId(), "error", err)
				}
			})
		}
	}
}

// admit counts a stream, as one that is served or refused; leave is nil when
// there is not even room to refuse it.
func (c *Client) admit() (admitted bool, leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := &c.serving
	if admitted = c.serving < MaxStreams; !admitted {
		if count = &c.refusing; c.refusing == maxWaiting {
			return false, nil
		}
	}
	*count++
	return admitted, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		*count--
	}
}

// mayBegin fails when a stream must not begin.
func (c *Client) mayBegin(ctx context.Context, r *agentv1.BulkRequest, admitted bool) error {
	if !admitted {
		return apperr.New(apperr.TooMany, "the node carries %d streams already; close one", MaxStreams)
	}
	if d := r.GetDeadline(); d != nil && !c.config.Now().Before(d.AsTime()) {
		return apperr.New(apperr.Precondition, "the request expired at %s before it could begin", d.AsTime().UTC().Format(time.RFC3339)).WithReason("expired")
	}
	switch what := r.GetWhat().(type) {
	case *agentv1.BulkRequest_Logs:
		return c.config.Check.Check(ctx, r.GetPrecondition(), workload.ContainerID{Prefix: what.Logs.GetPrefix(), Name: what.Logs.GetName()})
	case *agentv1.BulkRequest_Exec:
		return c.config.Check.Check(ctx, r.GetPrecondition(), workload.ContainerID{Prefix: what.Exec.GetPrefix(), Name: what.Exec.GetName()})
	default:
		return apperr.New(apperr.Unsupported, "this agent does not know what is asked for; update it")
	}
}
