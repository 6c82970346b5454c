package bulk

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Misuse is an agent that came with a stream id it was not asked for.
type Misuse struct {
	AgentID uuid.UUID
	// Foreign tells that the stream is another agent's; otherwise there is
	// none of that id.
	Foreign bool
}

// Config is what a Broker needs.
type Config struct {
	Limits Limits
	// Replica is what other replicas know this one by; it is the second half
	// of stream ids. Empty where there are no others.
	Replica string
	Now     func() time.Time
	// Misused is told of every attempt to take a stream that was not asked for.
	Misused func(ctx context.Context, m Misuse)
}

// Broker knows the sessions of this replica and their streams. It is safe for
// concurrent use.
type Broker struct {
	limits  Limits
	replica string
	now     func() time.Time
	misused func(ctx context.Context, m Misuse)

	mu    sync.Mutex
	links map[uuid.UUID]*Link
	pipes map[string]*pipe
	// over has the last streams that ended: an agent that comes too late is
	// not one that makes ids up. last is where the next goes.
	over map[string]uuid.UUID
	last [1024]string
	next int
}

// NewBroker returns a broker.
func NewBroker(c Config) *Broker {
	return &Broker{
		limits: c.Limits, replica: c.Replica, now: c.Now, misused: c.Misused,
		links: map[uuid.UUID]*Link{}, pipes: map[string]*pipe{}, over: map[string]uuid.UUID{},
	}
}

// Attach makes a session's agent one that can be asked for streams, until the
// link is closed. A newer session of the same agent takes the place of an
// older one, whose streams go on until its own link is closed.
func (b *Broker) Attach(s Session) *Link {
	l := &Link{broker: b, session: s, budget: newBudget(b.limits), pipes: map[*pipe]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links[s.AgentID] = l
	return l
}

// Holds reports whether this replica has that session.
func (b *Broker) Holds(agentID uuid.UUID, epoch int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.links[agentID]
	return l != nil && l.session.Epoch == epoch
}

// Open asks an agent for a stream and waits until it comes. The stream ends
// with ctx. Errors: Precondition with ReasonNotHere when this replica does not
// have the session, Unsupported when the agent is too old for it, TooMany,
// Unavailable when the agent does not come.
func (b *Broker) Open(ctx context.Context, agentID uuid.UUID, epoch int64, r Request) (Stream, error) {
	p, err := b.register(agentID, epoch, r)
	if err != nil {
		return nil, err
	}
	deadline := b.now().Add(b.limits.Patience)
	if err := p.link.session.Ask(Ask{StreamID: p.id, Deadline: deadline, Request: r}); err != nil {
		p.Close(err)
		return nil, apperr.Wrap(apperr.Unavailable, err, "the node's connection ended").WithReason(ReasonSessionEnded)
	}
	patience := time.NewTimer(b.limits.Patience)
	defer patience.Stop()
	select {
	case <-p.joined:
	case <-p.done:
		if !p.carried() {
			return nil, p.why()
		}
		// The agent came, said all there was and left before this looked.
	case <-patience.C:
		p.Close(nil)
		return nil, apperr.New(apperr.Unavailable,
			"the node's agent did not come with its connection for streams within %s", b.limits.Patience).WithReason(ReasonNoCarrier)
	case <-ctx.Done():
		p.Close(nil)
		return nil, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { p.Close(nil) })
	return &opened{pipe: p, stop: stop}, nil
}

// opened is a pipe that ends with the context it was asked for in.
type opened struct {
	*pipe
	stop func() bool
}

// Close ends the stream.
func (o *opened) Close(cause error) {
	o.stop()
	o.pipe.Close(cause)
}

func (b *Broker) register(agentID uuid.UUID, epoch int64, r Request) (*pipe, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.links[agentID]
	switch {
	case l == nil || l.session.Epoch != epoch:
		return nil, apperr.New(apperr.Precondition, "the node's session is not at this controller").WithReason(ReasonNotHere)
	case !l.session.Capable:
		return nil, apperr.New(apperr.Unsupported, "the node's agent is too old to carry streams: install a newer one")
	case r.Exec != nil && !l.session.ExecCapable:
		return nil, apperr.New(apperr.Unsupported, "the node's agent can run no commands in containers")
	case len(l.pipes) >= b.limits.PerAgent:
		return nil, apperr.New(apperr.TooMany, "the node carries %d streams already, its limit: end one first", len(l.pipes))
	case len(b.pipes) >= b.limits.Total:
		return nil, apperr.New(apperr.TooMany, "the controller carries %d streams already, its limit: try again later", len(b.pipes))
	}
	p := newPipe(rand.Text(), l, r)
	if b.replica != "" {
		p.id += "." + b.replica
	}
	b.pipes[p.id], l.pipes[p] = p, struct{}{}
	return p, nil
}

// ReplicaOf returns which replica gave a stream its id; "" when it does not
// say.
func ReplicaOf(streamID string) string {
	_, replica, _ := strings.Cut(streamID, ".")
	return replica
}

// Join makes an agent, who it is being proven, the carrier of a stream it was
// asked for. Each stream is joined once. Every failure is NotFound, and does
// not tell what other agents have.
func (b *Broker) Join(ctx context.Context, agentID uuid.UUID, streamID string) (*Carrier, error) {
	b.mu.Lock()
	p := b.pipes[streamID]
	owner, late := b.over[streamID]
	b.mu.Unlock()
	switch {
	case p != nil && p.link.session.AgentID != agentID, late && owner != agentID:
		b.misused(ctx, Misuse{AgentID: agentID, Foreign: true})
	case p != nil && p.join():
		return &Carrier{p}, nil
	case p == nil && !late:
		b.misused(ctx, Misuse{AgentID: agentID})
	}
	return nil, apperr.New(apperr.NotFound, "no stream of this id is waited for")
}

// drop forgets a stream that has ended.
func (b *Broker) drop(p *pipe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pipes[p.id] != p {
		return
	}
	delete(b.pipes, p.id)
	delete(p.link.pipes, p)
	delete(b.over, b.last[b.next])
	b.last[b.next], b.over[p.id] = p.id, p.link.session.AgentID
	b.next = (b.next + 1) % len(b.last)
}

// Interrupt ends every stream with a cause.
func (b *Broker) Interrupt(cause error) {
	b.mu.Lock()
	pipes := make([]*pipe, 0, len(b.pipes))
	for _, p := range b.pipes {
		pipes = append(pipes, p)
	}
	b.mu.Unlock()
	for _, p := range pipes {
		p.Close(cause)
	}
}

// Count returns how many streams there are.
func (b *Broker) Count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pipes)
}
