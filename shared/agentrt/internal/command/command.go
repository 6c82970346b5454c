// Package command carries out one-off acts. A command may arrive more than
// once, before and after restarts of the agent; it is carried out at most once,
// and its result is told until the controller has it.
package command

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/precondition"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Limits of the command lane.
const (
	maxWaiting  = 64
	maxParallel = 4
	// timeout bounds an act whatever the engine does.
	timeout = 2 * time.Minute
	// MaxLogLines and MaxLogBytes bound the answer to ReadLogs.
	MaxLogLines = 1000
	MaxLogBytes = 256 << 10
	// MaxInspection bounds the answer to Inspect, in bytes.
	MaxInspection = 256 << 10
	// maxReadBytes bounds the answers that wait together.
	maxReadBytes = 4 << 20
	// margin is how long a command is remembered after its deadline: clocks
	// are set back now and then.
	margin = time.Hour
	// remembered is how long one without a deadline is.
	remembered = 24 * time.Hour
)

// Driver is the part of workload.Driver that commands need.
type Driver interface {
	List(ctx context.Context) ([]workload.Container, error)
	Start(ctx context.Context, id workload.ContainerID) error
	Stop(ctx context.Context, id workload.ContainerID) error
	Restart(ctx context.Context, id workload.ContainerID) error
	Delete(ctx context.Context, id workload.ContainerID) error
	Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error
	Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error)
	Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error)
}

// Config is what an Executor is made of.
type Config struct {
	Driver Driver
	// Update takes on the replacement of the agent; nil when it has none.
	Update func(ctx context.Context, id string, order *agentv1.Update) error
	// Path is the journal's file.
	Path string
	// Agent is the id of the agent; what another one left is dropped.
	Agent string
	// Generation is of the assignment set that the agent holds.
	Generation func() uint64
	Now        func() time.Time
	Log        *slog.Logger
}

// Executor carries out commands: those of one container in the order they
// come, others beside each other, a few at a time.
type Executor struct {
	config   Config
	check    precondition.Checker
	ready    chan struct{}
	runnable chan workload.ContainerID // lanes whose first command may run

	journal *journal
	acked   chan struct{} // there are acknowledgements to write

	mu      sync.Mutex
	lanes   map[workload.ContainerID][]*agentv1.Command // the first one runs
	pending map[string]bool                             // commands in lanes, by id
	results results
}

// New returns an Executor that remembers what is in the journal; Run makes it
// work. Commands that had begun when the agent was last ended are answered
// with an error that says so. It fails when the journal cannot be opened.
func New(config Config) (*Executor, error) {
	j, err := openJournal(config.Path, config.Agent, config.Now)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		config:   config,
		check:    precondition.Checker{List: config.Driver.List, Generation: config.Generation},
		ready:    make(chan struct{}, 1),
		runnable: make(chan workload.ContainerID, maxWaiting+maxParallel),
		journal:  j,
		acked:    make(chan struct{}, 1),
		lanes:    map[workload.ContainerID][]*agentv1.Command{},
		pending:  map[string]bool{},
	}
	for _, entry := range j.order {
		if entry.result == nil {
			e.note(j.end(failed(entry.id, errInterrupted())))
		}
		if !entry.acked {
			e.results.put(entry.result, false)
		}
	}
	return e, nil
}

// errInterrupted answers a command of which nobody knows what became.
func errInterrupted() error {
	return apperr.New(apperr.Unavailable, "the agent was stopped while it carried this out: whether it took effect is not known, "+
		"and it is not tried again by itself; look at the container before you ask again").WithReason("outcomeUnknown")
}

// Submit takes a command and never blocks. One that is known and has ended is
// answered again; one that runs or waits will be.
func (e *Executor) Submit(c *agentv1.Command) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := c.GetId()
	if result, known := e.journal.known(id); known {
		if result != nil {
			e.answer(result, false)
		}
		return
	}
	if e.pending[id] {
		return
	}
	if len(e.pending) >= maxWaiting {
		e.answer(failed(id, apperr.New(apperr.TooMany, "%d commands wait already", maxWaiting)), true)
		return
	}
	lane := containerOf(c)
	e.pending[id] = true
	e.lanes[lane] = append(e.lanes[lane], c)
	if len(e.lanes[lane]) == 1 {
		e.runnable <- lane // has room for every command that may wait
	}
}

// Run carries out commands until ctx ends; acts under way are then cut short,
// and those that wait are forgotten: they will be delivered again.
func (e *Executor) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range maxParallel {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case lane := <-e.runnable:
					e.first(ctx, lane)
				}
			}
		})
	}
	workers.Go(func() { e.noteAcks(ctx) })
	workers.Wait()
	e.note(e.journal.flush())
	return e.journal.close()
}

// noteAcks writes what the controller acknowledged, out of the way of whoever
// heard it.
func (e *Executor) noteAcks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.acked:
			e.note(e.journal.flush())
		}
	}
}

// first carries out the first command of a lane and lets the next follow.
func (e *Executor) first(ctx context.Context, lane workload.ContainerID) {
	if ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	c := e.lanes[lane][0]
	e.mu.Unlock()

	e.carryOut(ctx, c, lane)

	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pending, c.GetId())
	if rest := e.lanes[lane][1:]; len(rest) > 0 {
		e.lanes[lane] = rest
		e.runnable <- lane
	} else {
		delete(e.lanes, lane)
	}
}

func (e *Executor) carryOut(ctx context.Context, c *agentv1.Command, id workload.ContainerID) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := e.mayBegin(ctx, c, id)
	switch {
	case !acts(c):
		e.tell(e.look(ctx, c, id, err), true)
	case err != nil:
		result := e.failure(c, err)
		repeatable := false
		if err := e.journal.refuse(result, e.until(c)); err != nil {
			e.note(err)
			repeatable = true // nothing happened
		}
		e.tell(result, repeatable)
	default:
		e.effect(ctx, c, id)
	}
}

// look carries out a command without an effect, unless err stands against it.
func (e *Executor) look(ctx context.Context, c *agentv1.Command, id workload.ContainerID, err error) *agentv1.CommandResult {
	result := &agentv1.CommandResult{Id: c.GetId()}
	if err == nil {
		err = e.read(ctx, c, id, result)
	}
	if err != nil {
		return e.failure(c, err)
	}
	return result
}

// effect carries out a command that has one, once it is in the journal.
func (e *Executor) effect(ctx context.Context, c *agentv1.Command, id workload.ContainerID) {
	if err := e.journal.begin(c.GetId(), e.until(c)); err != nil {
		e.tell(e.failure(c, err), true)
		return
	}
	err := e.perform(ctx, c, id)
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		err = errInterrupted()
	}
	result := &agentv1.CommandResult{Id: c.GetId()}
	if err != nil {
		result = e.failure(c, err)
	}
	e.note(e.journal.end(result))
	e.tell(result, false)
}

// mayBegin checks what must hold when a command begins.
func (e *Executor) mayBegin(ctx context.Context, c *agentv1.Command, id workload.ContainerID) error {
	if d := c.GetDeadline(); d != nil && !e.config.Now().Before(d.AsTime()) {
		return apperr.New(apperr.Precondition, "the command expired at %s before it could begin", d.AsTime().UTC().Format(time.RFC3339)).WithReason("expired")
	}
	if err := known(c); err != nil {
		return err
	}
	return e.check.Check(ctx, c.GetPrecondition(), id)
}

// until is how long a command must be remembered at least.
func (e *Executor) until(c *agentv1.Command) time.Time {
	now := e.config.Now()
	until := now.Add(remembered)
	if d := c.GetDeadline(); d != nil {
		until = d.AsTime().Add(margin)
		if latest := now.Add(remembered); until.After(latest) {
			until = latest
		}
	}
	return until.UTC().Truncate(time.Second)
}

func (e *Executor) failure(c *agentv1.Command, err error) *agentv1.CommandResult {
	e.config.Log.Warn("a command failed", logging.KeyCommand, c.GetId(), logging.KeyError, err)
	return failed(c.GetId(), err)
}

func failed(id string, err error) *agentv1.CommandResult {
	return &agentv1.CommandResult{Id: id, Error: err.Error(), ErrorKind: apperr.KindOf(err).String()}
}

// note logs what went wrong with the journal where nothing else can be done.
func (e *Executor) note(err error) {
	if err != nil {
		e.config.Log.Error("the journal of commands", logging.KeyError, err)
	}
}
