// Package agentrt is the agent runtime: it enrols the node, keeps a session
// with the controller, makes the node run what it is assigned and reports what
// it sees. It knows neither Docker nor Kubernetes; a workload.Driver does.
//
// What the node should run is on its disk, so that losing the controller stops
// nothing. What was seen is kept until the controller has it. See package
// state for the files.
package agentrt

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/bulk"
	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/agentrt/internal/exits"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/agentrt/internal/precondition"
	"fairlead.dev/shared/agentrt/internal/reconcile"
	"fairlead.dev/shared/agentrt/internal/spool"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/taskgroup"
	"fairlead.dev/shared/workload"
)

// ErrRevoked is returned by Run when the controller told the agent to stop for
// good. Its containers stay as they are.
var ErrRevoked = errors.New("this agent was revoked, or its node deleted")

// EnrolmentError is returned by Run when the agent has no identity and cannot
// get one by trying again. Its text is for the person at the node.
type EnrolmentError struct {
	Message string
	// Err is the cause; may be nil.
	Err error
}

// Error returns the message and the cause.
func (e *EnrolmentError) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *EnrolmentError) Unwrap() error { return e.Err }

// Config is what an agent is made of.
type Config struct {
	// StateDir is the folder the agent keeps everything in.
	StateDir string
	Driver   workload.Driver
	// NodeType is "docker" or "k8s".
	NodeType string
	// Hostname is told to the controller, for people.
	Hostname string
	Log      *slog.Logger
	// Capabilities are optional behaviours of the driver, in the words of
	// package protocol, on top of the agent's own.
	Capabilities []string

	// Keep copies the state folder to where it outlives the machine; nil when
	// the folder is all there is. It is called whenever something that must not
	// be lost was written to the folder: with identity for what the node cannot
	// come back without, which is not used before Keep returned nil; without it
	// for the work, whose copy may come a little later.
	Keep func(identity bool) error
	// Shared is how agents on several machines share one state folder, of which
	// each has a copy; nil when the machine's own folder is all there is.
	Shared Shared

	// Depart takes the agent off its machine once its node was deleted, so that
	// nothing starts it again; it may end the process. It is told whether the
	// containers went, too. After it Run ends with ErrDeleted. Nil: the process
	// stays and does nothing, for what would start it again.
	Depart func(ctx context.Context, containersRemoved bool) error

	// Replacer lets the agent replace itself by another build; nil when it
	// cannot. UpdateID names the update that started this process to take
	// another one's place; empty when none did. UpdatePatience is how long a new
	// agent may take to prove itself, and again to take over; 0 means a minute.
	Replacer       Replacer
	UpdateID       string
	UpdatePatience time.Duration

	// SpoolBytes bounds the facts that are kept on the disk while the
	// controller is away; 0 means 16 MiB.
	SpoolBytes int64

	// Version is for tests: what this agent says that it is; empty means what
	// its build says.
	Version string
	// Now and Random are for tests: the clock certificates are judged by, and
	// a source of numbers in [0, 1). Nil means the real ones.
	Now    func() time.Time
	Random func() float64
	// Dial is for tests and simulations: it connects to the controller's
	// address in place of the machine's network. Nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Agent is one agent process.
type Agent struct {
	config Config
	bootID string
	// streams is nil until the agent serves.
	streams atomic.Pointer[bulk.Client]
}

// New returns an agent. Run starts it.
func New(config Config) *Agent {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Random == nil {
		config.Random = mathrand.Float64
	}
	config.Version = cmp.Or(config.Version, buildinfo.Version())
	return &Agent{config: config, bootID: rand.Text()}
}

// Run enrols the agent if it must and serves its node until ctx ends. It then
// ends the work under way, tells the controller what it still has to tell
// within a few seconds, and returns nil. It fails with ErrRevoked, ErrDeleted,
// an *EnrolmentError, or when the state folder cannot be used.
//
// While the agent is replaced by another build, both run Run: it proves the new
// one, and the old one stands by after it handed over.
func (a *Agent) Run(ctx context.Context) error {
	for {
		err := a.turn(ctx)
		if errors.Is(err, errHandover) {
			err = nil
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// turn acts in the role that the process has now, until it has another one: it
// then returns nil or errHandover.
func (a *Agent) turn(ctx context.Context) error {
	update, err := a.readUpdate(ctx)
	if err != nil {
		return err
	}
	switch roleIn(update, a.config.UpdateID) {
	case proving:
		return a.prove(ctx, update)
	case standingBy:
		return a.standBy(ctx, update)
	case rejected:
		return errRejected(update)
	default:
		return a.alone(ctx, a.work)
	}
}

// work serves, as the only one who may; unless the role became another one while
// it waited for that.
func (a *Agent) work(ctx context.Context) error {
	update, err := state.ReadUpdate(a.config.StateDir)
	if err != nil {
		return err
	}
	switch roleIn(update, a.config.UpdateID) {
	case takingOver:
		dir, err := a.take(ctx, update)
		if err != nil {
			return err
		}
		return a.hold(ctx, dir)
	case serving:
		dir, err := state.OpenKept(a.config.StateDir, a.config.Keep)
		if err != nil {
			return err
		}
		if err := a.interrupted(ctx, dir); err != nil {
			return errors.Join(err, dir.Close())
		}
		return a.hold(ctx, dir)
	default:
		return nil
	}
}

// hold serves until ctx ends, in which case it returns nil; or until the agent
// hands over. It closes the folder in the end.
func (a *Agent) hold(ctx context.Context, dir *state.Dir) (err error) {
	defer func() { err = errors.Join(err, dir.Close()) }()
	return a.run(ctx, dir)
}

func (a *Agent) run(ctx context.Context, dir *state.Dir) error {
	defer func() {
		if err := dir.SetHealthyUntil(time.Time{}); err != nil {
			a.config.Log.Warn("the health file cannot be removed", logging.KeyError, err)
		}
	}()
	identity, err := a.identity(ctx, dir)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	deletion, deleted, err := dir.Deletion()
	if err != nil {
		return err
	}
	if deleted {
		return a.depart(ctx, dir, deletion)
	}
	reason, revoked, err := dir.Revoked()
	if err != nil {
		return err
	}
	if revoked {
		// Waits rather than ends, so that whatever restarts the process does
		// not do so for ever.
		a.config.Log.Error("this agent was revoked and does nothing; to enrol the node again, run its install script", "reason", reason)
		<-ctx.Done()
		return nil
	}
	err = a.serve(ctx, dir, identity)
	var gone *dismissed
	if errors.As(err, &gone) {
		return a.depart(ctx, dir, gone.Deletion)
	}
	return err
}

// serve works and keeps the controller told. The work ends first, then the
// link, so that the last news still travels.
func (a *Agent) serve(ctx context.Context, dir *state.Dir, identity state.Identity) error {
	results, err := dir.Results()
	if err != nil {
		return err
	}
	facts, err := spool.Open(spool.Config{
		Dir: filepath.Join(a.config.StateDir, folderSpool), Agent: identity.AgentID, MaxBytes: a.config.SpoolBytes, Log: a.config.Log,
	})
	if err != nil {
		return err
	}
	defer func() { _ = facts.Close() }()
	box := outbox.New(facts, func(err error) { a.config.Log.Error("facts cannot be told", logging.KeyError, err) })
	sealing, err := dir.SealingKey()
	if err != nil {
		return err
	}
	begun, err := dir.Begun()
	if err != nil {
		return err
	}
	reconciler := reconcile.New(reconcile.Config{
		Driver: a.config.Driver, Outbox: box, Results: results, Store: dir.SetResults, Open: sealing.Open,
		Begun: begun, StoreBegun: dir.SetBegun,
		Random: a.config.Random, Now: a.config.Now, Log: a.config.Log,
	})
	held, err := resume(dir, reconciler, a.config.Log)
	if err != nil {
		return err
	}
	streams := bulk.New(bulk.Config{
		Driver: a.config.Driver, Check: precondition.Checker{List: a.config.Driver.List, Generation: held.generation},
		Dial: func(config *tls.Config) (*grpc.ClientConn, error) { return a.dial(identity.Controller, config) },
		Now:  a.config.Now, Log: a.config.Log,
	})
	updates, err := newUpdater(a, dir, streams.Fetch)
	if err != nil {
		return err
	}
	commands, err := command.New(command.Config{
		Driver: a.config.Driver, Update: updates.accept, Path: filepath.Join(a.config.StateDir, fileCommands), Agent: identity.AgentID,
		Generation: held.generation, Now: a.config.Now, Log: a.config.Log,
	})
	if err != nil {
		return err
	}
	detector, err := exits.Open(exits.Config{
		Path: filepath.Join(a.config.StateDir, fileSeen), Agent: identity.AgentID,
		Spool: facts, Logs: a.config.Driver.Logs, Noticed: box.Facts, Now: a.config.Now, Log: a.config.Log,
	})
	if err != nil {
		return err
	}
	observer := &observer{
		driver: a.config.Driver, held: held, outbox: box, exits: detector,
		now: a.config.Now, random: a.config.Random, log: a.config.Log,
	}
	a.streams.Store(streams)
	link := newLink(a, dir, identity, held, box, commands, streams)
	link.updates = updates
	link.sealingKey = sealing.Public()

	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	leave, markLeaving := context.WithCancel(context.WithoutCancel(ctx))
	defer markLeaving()
	worked := make(chan error, 1)
	go func() {
		defer markLeaving()
		worked <- taskgroup.Run(work,
			taskgroup.Task{Name: "reconcile", Run: reconciler.Run},
			taskgroup.Task{Name: "observe", Run: observer.run},
			taskgroup.Task{Name: "guard", Run: func(ctx context.Context) error { return a.guard(ctx, reconciler.Tell) }},
			taskgroup.Task{Name: "commands", Run: commands.Run},
			taskgroup.Task{Name: "bulk", Run: streams.Run},
			taskgroup.Task{Name: "update", Run: updates.run},
		)
	}()
	err = link.run(leave)
	stopWork()
	return errors.Join(err, <-worked)
}

// info is what the agent says of itself; the engine's part is empty while the
// engine is away.
func (a *Agent) info(ctx context.Context) *agentv1.AgentInfo {
	info := &agentv1.AgentInfo{
		Version:  a.config.Version,
		NodeType: a.config.NodeType,
		Hostname: a.config.Hostname,
	}
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	engine, err := a.config.Driver.Info(ctx)
	if err != nil {
		a.config.Log.Warn("the engine does not answer", "error", err)
		return info
	}
	info.EngineName, info.EngineVersion, info.EngineId = engine.Name, engine.Version, engine.ID
	info.Os, info.Architecture = engine.OS, engine.Architecture
	return info
}

const (
	infoTimeout = 5 * time.Second
	// fileCommands is the journal of commands in the state folder.
	fileCommands = "commands"
	// folderSpool holds facts, fileSeen the containers that were seen last.
	folderSpool = "spool"
	fileSeen    = "seen.json"
)

// Fetch gets an artifact from the controller by its digest ("sha256:" and hex)
// and puts it at path once it is there whole and has the digest. It fails with
// NotFound when the controller has no such artifact, and with Unavailable while
// the agent has no session, or when it breaks; what came so far is kept for the
// next call.
func (a *Agent) Fetch(ctx context.Context, digest, path string) error {
	streams := a.streams.Load()
	if streams == nil {
		return apperr.New(apperr.Unavailable, "fetch %s: the agent has not begun to serve", digest)
	}
	return streams.Fetch(ctx, digest, path)
}

// HealthyUntil returns until when the agent that runs on the state folder
// counts as healthy, unless it says so anew; the zero time means that it has no
// session.
func HealthyUntil(stateDir string) (time.Time, error) {
	until, err := state.HealthyUntil(stateDir)
	if err != nil {
		return until, fmt.Errorf("ask for the agent's health: %w", err)
	}
	return until, nil
}
