// Package engine is a container engine for tests that kill everything around
// it: it lives in the test's process, agents reach it over a socket, and it
// writes down every effect anything had on it. So what an agent did before it
// was killed is known exactly, as it is with a real engine.
package engine

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Labels are what an agent attaches to a container it makes.
type Labels struct {
	Prefix       string
	Name         string
	DeploymentID string
	InstanceID   string
	Release      int64
	Hash         string
	Image        string
	// Value is what the variable ValueKey of its environment says.
	Value string
}

// Container is one container.
type Container struct {
	ID     string
	Name   string
	Labels Labels

	Running    bool
	ExitCode   int
	Restarts   int
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
}

// Acts that an Effect may be.
const (
	Create  = "create"
	Start   = "start"
	Stop    = "stop"
	Restart = "restart"
	Remove  = "remove"
	Rename  = "rename"
	// Exit is a process that ended by itself.
	Exit = "exit"
)

// Effect is something that happened to a container.
type Effect struct {
	Act       string
	Container Container // as it was afterwards
	At        time.Time
	// Asked is false for what the engine or the container did by itself.
	Asked bool
}

// Engine is the engine of one machine.
type Engine struct {
	mu         sync.Mutex
	random     *rand.Rand
	latency    time.Duration
	away       bool
	made       int
	containers map[string]*Container // by id
	effects    []Effect
	version    int
	changed    chan struct{} // closed and replaced at every change
}

// New returns an empty engine. Everything it is asked for takes up to latency.
func New(seed uint64, latency time.Duration) *Engine {
	return &Engine{
		random:  rand.New(rand.NewPCG(seed, 0x656e67)), //nolint:gosec // repeatable, not secret
		latency: latency, containers: map[string]*Container{}, changed: make(chan struct{}),
	}
}

// Away makes the engine refuse everything, or serve again. Its containers go on.
func (e *Engine) Away(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = on
}

// Effects returns everything that has happened, in order.
func (e *Engine) Effects() []Effect {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.effects)
}

// Containers returns every container, by name.
func (e *Engine) Containers() []Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.list()
}

// Crash ends the process of a container by itself, with a code. When restart
// is set the engine starts it again at once. It reports whether it was running.
func (e *Engine) Crash(name string, code int, restart bool) (Container, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.byName(name)
	if c == nil || !c.Running {
		return Container{}, false
	}
	c.Running, c.ExitCode, c.FinishedAt = false, code, time.Now()
	e.happened(Exit, c, false)
	exited := *c
	if restart {
		c.Restarts++
		c.Running, c.StartedAt = true, time.Now()
		e.happened(Start, c, false)
	}
	return exited, true
}

// errors that the other side of the socket tells apart by their first word.
const (
	wordAway     = "away"
	wordNotFound = "missing"
	wordConflict = "conflict"
)

// begin waits as long as an operation takes, and refuses it while the engine
// is away.
func (e *Engine) begin(ctx context.Context) error {
	e.pause(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away {
		return fmt.Errorf("%s: the engine does not answer", wordAway)
	}
	return nil
}

func (e *Engine) pause(ctx context.Context) {
	e.mu.Lock()
	var pause time.Duration
	if e.latency > 0 {
		pause = time.Duration(e.random.Int64N(int64(e.latency)))
	}
	e.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (e *Engine) list() []Container {
	list := make([]Container, 0, len(e.containers))
	for _, c := range e.containers {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Container) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (e *Engine) byName(name string) *Container {
	for _, c := range e.containers {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (e *Engine) byID(id string) (*Container, error) {
	if c := e.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%s: no container %s", wordNotFound, id)
}

// happened writes an effect down; e.mu is held.
func (e *Engine) happened(act string, c *Container, asked bool) {
	e.effects = append(e.effects, Effect{Act: act, Container: *c, At: time.Now(), Asked: asked})
	e.version++
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *Engine) create(name string, labels Labels) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byName(name) != nil {
		return "", fmt.Errorf("%s: the name %s is taken", wordConflict, name)
	}
	e.made++
	c := &Container{ID: fmt.Sprintf("c%06d", e.made), Name: name, Labels: labels, CreatedAt: time.Now()}
	e.containers[c.ID] = c
	e.happened(Create, c, true)
	return c.ID, nil
}

// act carries out what is asked of a container that exists.
func (e *Engine) act(act, id, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.byID(id)
	if err != nil {
		return err
	}
	switch act {
	case Start:
		if c.Running {
			return nil
		}
		c.Running, c.StartedAt, c.Restarts = true, time.Now(), 0
	case Stop:
		if !c.Running {
			return nil
		}
		c.Running, c.ExitCode, c.FinishedAt = false, 0, time.Now()
	case Restart:
		c.FinishedAt = time.Now()
		c.Running, c.StartedAt, c.ExitCode, c.Restarts = true, time.Now(), 0, 0
	case Remove:
		delete(e.containers, id)
	case Rename:
		if e.byName(name) != nil {
			return fmt.Errorf("%s: the name %s is taken", wordConflict, name)
		}
		c.Name = name
		c.Labels.Name = name[len(c.Labels.Prefix)+1:]
	default:
		return fmt.Errorf("%s: no act %q", wordConflict, act)
	}
	e.happened(act, c, true)
	return nil
}

// wait returns the engine's version once it is past since, or after a moment.
func (e *Engine) wait(ctx context.Context, since int) int {
	e.mu.Lock()
	version, changed := e.version, e.changed
	e.mu.Unlock()
	if version != since {
		return version
	}
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case <-changed:
	case <-moment.C:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.version
}
