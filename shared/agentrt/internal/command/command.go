// Package command carries out one-off acts. A command may arrive more than
// once; it is carried out at most once while the agent runs.
package command

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// Limits of the command lane.
const (
	maxWaiting  = 64
	maxParallel = 4
	maxKnown    = 1024
	// timeout bounds an act whatever the engine does.
	timeout = 2 * time.Minute
	// MaxLogLines and MaxLogBytes bound the answer to ReadLogs.
	MaxLogLines = 1000
	MaxLogBytes = 256 << 10
)

// Driver is the part of workload.Driver that commands need.
type Driver interface {
	Start(ctx context.Context, id workload.ContainerID) error
	Stop(ctx context.Context, id workload.ContainerID) error
	Restart(ctx context.Context, id workload.ContainerID) error
	Delete(ctx context.Context, id workload.ContainerID) error
	Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error
}

// Executor carries out commands in the order they come, a few at a time.
type Executor struct {
	driver  Driver
	now     func() time.Time
	log     *slog.Logger
	journal *journal
	waiting chan *agentv1.Command
	ready   chan struct{}

	mu      sync.Mutex
	results []*agentv1.CommandResult
}

// New returns an Executor; Run makes it work.
func New(driver Driver, now func() time.Time, log *slog.Logger) *Executor {
	return &Executor{
		driver: driver, now: now, log: log,
		journal: newJournal(maxKnown),
		waiting: make(chan *agentv1.Command, maxWaiting),
		ready:   make(chan struct{}, 1),
	}
}

// Submit takes a command and never blocks. One that is known and has ended is
// answered again; one that runs will be.
func (e *Executor) Submit(c *agentv1.Command) {
	result, fresh := e.journal.begin(c.GetId())
	switch {
	case result != nil:
		e.answer(result)
	case fresh:
		select {
		case e.waiting <- c:
		default:
			e.end(c, nil, apperr.New(apperr.TooMany, "%d commands wait already", maxWaiting))
		}
	}
}

// Ready is signalled when there are results to take.
func (e *Executor) Ready() <-chan struct{} { return e.ready }

// Take returns the results that were not taken yet.
func (e *Executor) Take() []*agentv1.CommandResult {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.results
	e.results = nil
	return taken
}

// Run carries out commands until ctx ends; acts under way are then cut short.
func (e *Executor) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range maxParallel {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-e.waiting:
					lines, err := e.perform(ctx, c)
					e.end(c, lines, err)
				}
			}
		})
	}
	workers.Wait()
	return nil
}

func (e *Executor) end(c *agentv1.Command, lines []*agentv1.LogLine, err error) {
	result := &agentv1.CommandResult{Id: c.GetId(), Lines: lines}
	if err != nil {
		result.Error = err.Error()
		result.ErrorKind = apperr.KindOf(err).String()
		e.log.Warn("a command failed", logging.KeyCommand, c.GetId(), logging.KeyError, err)
	}
	if c.GetReadLogs() != nil {
		e.journal.forget(c.GetId()) // large, and harmless to do again
	} else {
		e.journal.end(result)
	}
	e.answer(result)
}

func (e *Executor) answer(result *agentv1.CommandResult) {
	e.mu.Lock()
	e.results = append(e.results, result)
	if extra := len(e.results) - maxKnown; extra > 0 { // nobody takes them: they are asked for again
		e.results = e.results[extra:]
	}
	e.mu.Unlock()
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

func (e *Executor) perform(ctx context.Context, c *agentv1.Command) (lines []*agentv1.LogLine, err error) {
	if d := c.GetDeadline(); d != nil && !e.now().Before(d.AsTime()) {
		return nil, apperr.New(apperr.Precondition, "the command expired at %s before it could begin", d.AsTime().UTC().Format(time.RFC3339)).WithReason("expired")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch act := c.GetAct().(type) {
	case *agentv1.Command_Container:
		return nil, e.container(ctx, act.Container)
	case *agentv1.Command_ReadLogs:
		return e.readLogs(ctx, act.ReadLogs)
	default:
		return nil, apperr.New(apperr.Unsupported, "this agent does not know the command; update it")
	}
}

func (e *Executor) container(ctx context.Context, act *agentv1.ContainerAct) error {
	id := workload.ContainerID{Prefix: act.GetPrefix(), Name: act.GetName()}
	switch act.GetOperation() {
	case agentv1.ContainerOperation_CONTAINER_OPERATION_START:
		return e.driver.Start(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_STOP:
		return e.driver.Stop(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_RESTART:
		return e.driver.Restart(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE:
		return e.driver.Delete(ctx, id)
	default:
		return apperr.New(apperr.Unsupported, "this agent does not know the operation %d; update it", act.GetOperation())
	}
}

// readLogs returns the last lines that fit.
func (e *Executor) readLogs(ctx context.Context, ask *agentv1.ReadLogs) ([]*agentv1.LogLine, error) {
	tail := int(ask.GetTail())
	if tail <= 0 || tail > MaxLogLines {
		tail = MaxLogLines
	}
	id := workload.ContainerID{Prefix: ask.GetPrefix(), Name: ask.GetName()}
	var lines []*agentv1.LogLine
	size := 0
	err := e.driver.Logs(ctx, id, workload.LogOptions{Tail: tail}, func(l workload.LogLine) error {
		line := specpb.LogLineToProto(l)
		lines = append(lines, line)
		size += len(line.GetText())
		for len(lines) > tail || size > MaxLogBytes {
			size -= len(lines[0].GetText())
			lines = lines[1:]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", spec.ContainerName(id.Prefix, id.Name), err)
	}
	return lines, nil
}
