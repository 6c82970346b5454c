// Package fleetsim is a fleet of agents in one process: real keys, real
// enrolment, certificates over mutual TLS and the real messages, before a
// controller that can't tell them from others. There are two weights.
//
// A Fleet is light: ten thousand of its Agents fit into a process. An Agent
// speaks the protocol itself (hello, assignment sets whole and changed with
// their hashes, acknowledgements, reports that are sent until they are
// acknowledged, commands once, pings, full-jitter back-off) and runs a make-
// believe engine whose latencies follow from a seed. What a real agent keeps on
// its disk, it keeps in memory: it survives Kill.
//
//	fleet, err := fleetsim.New(fleetsim.Config{Controller: addr, Pin: pin, Seed: 7, Engine: fleetsim.Engine{MaxLatency: time.Second}})
//	err = fleet.Enrol(ctx, tokens, 32)     // one agent a token; fleet.Agents() has them
//	err = fleet.Start(ctx)                 // every agent connects, and comes back by itself
//	err = fleet.Await(ctx, "all to be connected", func(c fleetsim.Counts) bool { return c.Echoed == c.Agents })
//	fleet.Agent(3).Kill()                  // as kill -9 does
//	fleet.Agent(4).Freeze(true)            // as SIGSTOP, or a cable pulled: nothing is said, nothing ends
//	fleet.Agent(3).Start(ctx)              // a new boot of it
//	fleet.Close()
//
// Tokens come from Tokens, through the API, or from where a test gets them.
// Network faults come from package faultnet: Config.Line gives an agent's
// connections a line to go over. What is random in a fleet follows from
// Config.Seed, so that a run is repeated by its seed, as far as scheduling
// lets it.
//
// A Real is an agent of package agentrt over workloadtest.FakeDriver with a
// state folder, behind a proxy of its own: what an agent really does, for tens
// or hundreds.
package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"

	"fairlead.dev/e2e/fleetsim/faultnet"
)

// Engine is what the make-believe engines are like.
type Engine struct {
	// MaxLatency is the longest that bringing a prefix to a new release takes;
	// each takes a random part of it.
	MaxLatency time.Duration
	// Foreign is how many containers each node runs that nobody assigned.
	Foreign int
	// Failing is the part of releases that fail, in [0, 1].
	Failing float64
}

// Config is what a fleet is made of.
type Config struct {
	// Controller is host:port of the controller's agent listener.
	Controller string
	// Pin is of the controller's root certificate.
	Pin  pki.Pin
	Seed uint64
	// Engine of every node.
	Engine Engine
	// Gather is how long what there is to report is gathered; 0 is 100 ms.
	Gather time.Duration
	// Heartbeat is the period of heartbeats, in place of the one the controller
	// asks for, by which its silence is judged all the same.
	Heartbeat time.Duration
	// Line returns the line that an agent's connections go over; nil, or a nil
	// line, connects directly.
	Line func(agent int) *faultnet.Line
	// OnSet is called with every assignment set that was taken, by the
	// goroutine that took it.
	OnSet func(a *Agent, set *agentv1.AssignmentSet, at time.Time)
	// Without are capabilities that the agents do not announce.
	Without []string
	// Log may be nil.
	Log *slog.Logger
}

// Fleet is many light agents of one controller. Its methods may be called from
// several goroutines.
type Fleet struct {
	config       Config
	latency      atomic.Int64 // of the engines, in nanoseconds
	introduction *pki.Introduction
	counters     counters

	// EchoTimes, AckTimes and BackTimes are how long a heartbeat's echo takes,
	// the acknowledgement of a report, and from the end of a session to the
	// first echo of the next.
	EchoTimes, AckTimes, BackTimes Times

	mu     sync.Mutex
	agents []*Agent
}

// New returns an empty fleet.
func New(c Config) (*Fleet, error) {
	if _, _, err := net.SplitHostPort(c.Controller); err != nil {
		return nil, fmt.Errorf("address of the controller: %w", err)
	}
	if c.Gather == 0 {
		c.Gather = 100 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{config: c, introduction: pki.Introduce(c.Pin, time.Now)}
	f.SetLatency(c.Engine.MaxLatency)
	return f, nil
}

// SetLatency changes Engine.MaxLatency for what the engines begin from now on.
func (f *Fleet) SetLatency(d time.Duration) { f.latency.Store(int64(d)) }

// Controller is host:port of the controller's agent listener.
func (f *Fleet) Controller() string { return f.config.Controller }

// Token is one node's way into the fleet.
type Token struct {
	Token string
	// NodeID is filled in by enrolment when it is empty.
	NodeID   string
	NodeName string
}

// Enrol makes an agent of each token, so many at a time. It fails with the
// first refusal that is final; those that say when to come back are obeyed.
func (f *Fleet) Enrol(ctx context.Context, tokens []Token, parallel int) error {
	f.mu.Lock()
	first := len(f.agents)
	for i, t := range tokens {
		f.agents = append(f.agents, newAgent(f, first+i, t))
	}
	enrolling := f.agents[first:]
	f.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, a := range enrolling {
		group.Go(func() error { return a.enrol(ctx) })
	}
	return group.Wait()
}

// Race makes n agents use one token at once, each with a key of its own, and
// returns how many got an identity and how the others were refused. None of
// them joins the fleet.
func (f *Fleet) Race(ctx context.Context, token string, n int) (winners int, refused map[string]int) {
	refused = map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		a := newAgent(f, i, Token{Token: token})
		all.Go(func() {
			err := a.enrol(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners++
				return
			}
			refused[reasonOf(errors.Unwrap(err))]++
		})
	}
	all.Wait()
	return winners, refused
}

// Agents returns every agent, in the order of their tokens.
func (f *Fleet) Agents() []*Agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Agent(nil), f.agents...)
}

// Agent returns one agent.
func (f *Fleet) Agent(i int) *Agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[i]
}

// Start starts every agent that does not run, all at once.
func (f *Fleet) Start(ctx context.Context) {
	for _, a := range f.Agents() {
		a.Start(ctx)
	}
}

// Close kills every agent and waits until they have ended.
func (f *Fleet) Close() {
	for _, a := range f.Agents() {
		a.signal()
	}
	for _, a := range f.Agents() {
		a.Kill()
	}
}

// awaitPeriod is how often Await looks.
const awaitPeriod = 20 * time.Millisecond

// Await waits until the counts are as wished; it fails when ctx ends, with what
// they were then.
func (f *Fleet) Await(ctx context.Context, what string, done func(Counts) bool) error {
	tick := time.NewTicker(awaitPeriod)
	defer tick.Stop()
	for {
		c := f.Counts()
		if done(c) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: last %s", what, c), context.Cause(ctx))
		}
	}
}
