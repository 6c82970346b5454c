// Package dispatch turns "something newer exists for this node" into a send on
// the node's open session. Rows are the truth; hints only make it quick.
package dispatch

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/wake"
	"fairlead.dev/shared/apperr"
)

const (
	// pollPeriod backs up the hints: a lost one costs at most this long.
	pollPeriod = 15 * time.Second
	// retryPeriod is how soon a database that was away is asked again.
	retryPeriod = time.Second
)

// Sender is an open session as dispatch sees it. Its methods are called from
// one goroutine.
type Sender interface {
	SendAssignments(set deployment.Set) error
	SendCommand(c command.Command) error
}

// Config is what a Dispatcher needs.
type Config struct {
	Bus         *wake.Bus
	Agents      *agent.Service
	Deployments *deployment.Service
	Commands    *command.Service
}

// Dispatcher feeds open sessions.
type Dispatcher struct{ Config }

// New returns the dispatcher.
func New(c Config) *Dispatcher { return &Dispatcher{c} }

// Feed sends the session what its node should run and do, first at once and
// then whenever that changes, until ctx ends or the session may not go on
// (revoked, replaced), which is its error. Held is the generation the agent
// already has; the set is sent when the node's is another.
func (d *Dispatcher) Feed(ctx context.Context, s agent.Session, held uint64, sender Sender) error {
	hints := d.Bus.Subscribe(wake.Node(s.NodeID.String()), wake.Agent(s.AgentID.String()))
	defer hints.Close()
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()

	f := feed{Dispatcher: d, session: s, sender: sender, sent: held, told: map[uuid.UUID]bool{}}
	for {
		err := f.send(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case apperr.Is(err, apperr.Unavailable):
			// The database is away. The agent has what it needs to keep its
			// node as it is: hold the session, and look again soon.
			poll.Reset(retryPeriod)
		case err != nil:
			return err
		default:
			poll.Reset(pollPeriod)
		}
		select {
		case <-hints.C:
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// feed is what was sent on one session.
type feed struct {
	*Dispatcher
	session agent.Session
	sender  Sender
	// sent is the generation of the last set, told the commands.
	sent uint64
	told map[uuid.UUID]bool
}

func (f *feed) send(ctx context.Context) error {
	wanted, err := f.Agents.Wanted(ctx, f.session)
	if err != nil {
		return err
	}
	if wanted != f.sent {
		set, err := f.Deployments.AssignmentSet(ctx, f.session.NodeID)
		if err != nil {
			return err
		}
		if err := f.sender.SendAssignments(set); err != nil {
			return err
		}
		f.sent = set.Generation
	}
	return f.commands(ctx)
}

// commands sends those that were not sent on this session yet.
func (f *feed) commands(ctx context.Context) error {
	pending, err := f.Commands.Pending(ctx, f.session.NodeID)
	if err != nil {
		return err
	}
	still := make(map[uuid.UUID]bool, len(pending))
	for _, c := range pending {
		if !f.told[c.ID] {
			if err := f.sender.SendCommand(c); err != nil {
				return err
			}
		}
		still[c.ID] = true
	}
	f.told = still
	return nil
}
