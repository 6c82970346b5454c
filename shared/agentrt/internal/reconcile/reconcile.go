// Package reconcile makes the node run what it is assigned: one loop a prefix,
// the newest generation wins, and what is finished is not done again.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// MaxParallel is how many prefixes are worked on at once.
const MaxParallel = 16

// errFinished stands in the place of a finished target's deployment.
var errFinished = errors.New("the target is finished already")

// Target is what one prefix should run.
type Target struct {
	Prefix       string
	DeploymentID string
	Generation   uint64
	Release      int64
	// ExpectedPlan is the hash of the only plan by which the deployment may be
	// applied; "" for any.
	ExpectedPlan string
	// Deployment is nil when the prefix is to be emptied.
	Deployment *spec.Deployment
	// Err says why the deployment could not be read; it then fails with it.
	Err error
}

// Driver is the part of workload.Driver that reconciling needs.
type Driver interface {
	Check(d spec.Deployment) error
	Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error)
	Apply(ctx context.Context, d spec.Deployment, report workload.Reporter) error
	Remove(ctx context.Context, prefix string, report workload.Reporter) error
}

// Outbox is told how it goes.
type Outbox interface {
	Status(*agentv1.DeploymentStatus)
	Event(*agentv1.DeploymentEvent)
	// Restart drops the statuses that wait: another database's will come.
	Restart()
}

// Config is what a Reconciler needs; every field is required.
type Config struct {
	Driver Driver
	Outbox Outbox
	// Results are the ends known from before, by prefix; Store keeps them.
	Results map[string]*agentv1.DeploymentStatus
	Store   func(map[string]*agentv1.DeploymentStatus) error
	// Begun are the generations, by prefix, that were begun with since their
	// plan was the expected one; StoreBegun keeps them.
	Begun      map[string]uint64
	StoreBegun func(map[string]uint64) error
	// Open returns what was sealed to this node.
	Open func(sealed string) (string, error)
	// Random returns numbers in [0, 1), for the pauses between attempts.
	Random func() float64
	Now    func() time.Time
	Log    *slog.Logger
}

// Reconciler holds a loop for every prefix that has work. Set may be called at
// any time, also before Run.
type Reconciler struct {
	config Config
	wake   chan struct{}
	slots  chan struct{}

	mu      sync.Mutex
	loops   map[string]*loop
	results map[string]*agentv1.DeploymentStatus
	begun   map[string]uint64
}

// loop is the work on one prefix.
type loop struct {
	want    Target
	order   uint64              // counts what want was; an attempt is at one of them
	done    bool                // want is finished
	restart bool                // what comes next is newer, whatever its generation
	digests map[imageRef]string // what images stand for, as far as the attempts came
	running bool                // a goroutine works on the prefix
	cancel  context.CancelFunc  // ends the attempt under way
}

// New returns a Reconciler that has no work yet.
func New(config Config) *Reconciler {
	results := config.Results
	if results == nil {
		results = map[string]*agentv1.DeploymentStatus{}
	}
	begun := config.Begun
	if begun == nil {
		begun = map[string]uint64{}
	}
	return &Reconciler{
		config:  config,
		wake:    make(chan struct{}, 1),
		slots:   make(chan struct{}, MaxParallel),
		loops:   map[string]*loop{},
		results: results,
		begun:   begun,
	}
}

// Set takes what the node should run. A prefix that is not named is left as it
// is, work under way included. A newer generation of a prefix ends the attempt
// at an older one; an older one is ignored.
func (r *Reconciler) Set(targets []Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range targets {
		r.set(t)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reconciler) set(t Target) {
	l, known := r.loops[t.Prefix]
	if known && !l.restart && l.want.Generation >= t.Generation {
		return
	}
	if !known {
		l = &loop{}
		r.loops[t.Prefix] = l
	}
	l.want, l.done, l.restart, l.digests = t, false, false, nil
	l.order++
	if end, ok := r.results[t.Prefix]; ok && end.GetGeneration() >= t.Generation {
		l.rest()
		r.config.Outbox.Status(end) // the controller may not have it yet
		return
	}
	r.config.Outbox.Status(statusOf(t, workload.PhasePending, nil))
	if l.cancel != nil {
		l.cancel()
	}
}

// Run works until ctx ends, and returns when every attempt has ended too.
func (r *Reconciler) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	for {
		for _, l := range r.idle() {
			loops.Go(func() { r.work(ctx, l) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
	}
}

// idle returns the loops that have work and nobody to do it, and counts them
// as running.
func (r *Reconciler) idle() []*loop {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*loop
	for _, l := range r.loops {
		if !l.running && !l.done {
			l.running = true
			found = append(found, l)
		}
	}
	return found
}

// work makes attempts until the prefix's newest target is finished.
func (r *Reconciler) work(ctx context.Context, l *loop) {
	for {
		attempt, target, order, more := r.begin(ctx, l)
		if !more {
			return
		}
		end := r.attempt(attempt, target)
		r.finish(attempt, l, target, order, end)
	}
}

// begin returns the newest target, its order, and the context of the attempt
// at it; more is false when there is nothing to do.
func (r *Reconciler) begin(ctx context.Context, l *loop) (attempt context.Context, t Target, order uint64, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.done || ctx.Err() != nil {
		l.running = false
		return nil, t, 0, false
	}
	attempt, l.cancel = context.WithCancel(ctx)
	return attempt, l.want, l.order, true
}

// rest is for a loop whose target is finished: it keeps what tells the target
// from others and lets the rest go.
func (l *loop) rest() {
	l.done = true
	l.want.Deployment = nil
	l.want.Err = errFinished // a target without deployment would remove
}
