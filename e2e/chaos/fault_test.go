package chaos_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/e2e/fleetsim/faultnet"
)

// fault is one that can be had: begin makes it, and what it returns ends it.
// It is drawn with a weight and lasts up to longest.
type fault struct {
	name    string
	target  string
	weight  int
	longest time.Duration
	begin   func(r *rand.Rand) (detail string, end func())
}

// faults returns every fault of the world.
func (w *world) faults() []fault {
	var all []fault
	for _, n := range w.nodes {
		all = append(all, w.lineFaults(n)...)
		all = append(all, w.nodeFaults(n)...)
	}
	for _, c := range w.controllers {
		all = append(all,
			fault{"kill", c.name, 3, 2 * time.Second, func(*rand.Rand) (string, func()) {
				c.kill()
				return "", func() { c.start(w.t) }
			}},
			fault{"freeze", c.name, 2, 4 * time.Second, func(*rand.Rand) (string, func()) {
				c.signal(syscall.SIGSTOP)
				return "", func() { c.signal(syscall.SIGCONT) }
			}},
			fault{"stop", c.name, 1, 3 * time.Second, func(*rand.Rand) (string, func()) {
				c.signal(syscall.SIGTERM)
				return "", func() {
					c.kill() // if it still drains
					c.start(w.t)
				}
			}},
		)
	}
	return append(all,
		fault{"kill", "postgresql", 2, 2 * time.Second, func(*rand.Rand) (string, func()) {
			w.db.kill()
			return "", func() { w.db.start(w.t) }
		}},
		fault{"freeze", "postgresql", 2, 3 * time.Second, func(*rand.Rand) (string, func()) {
			w.db.freeze(true)
			return "", func() { w.db.freeze(false) }
		}},
		fault{"connections ended", "postgresql", 1, time.Millisecond, func(*rand.Rand) (string, func()) {
			said, err := w.db.query("postgres", "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '"+database+"'")
			return fmt.Sprint(said, " ", err), func() {}
		}},
	)
}

// lineFaults are those between a node and its controller.
func (w *world) lineFaults(n *node) []fault {
	line, target := n.proxy.Line(), n.name+"'s line"
	set := func(f faultnet.Faults) func() {
		line.Set(f)
		return func() { line.Heal() }
	}
	return []fault{
		{"cut", target, 2, time.Millisecond, func(*rand.Rand) (string, func()) {
			return fmt.Sprint(line.Cut(), " connections"), func() {}
		}},
		{"cut at a byte", target, 4, 3 * time.Second, func(r *rand.Rand) (string, func()) {
			after := 1 + r.Int64N(6000)
			if r.IntN(2) == 0 {
				return fmt.Sprint(after, " up"), set(faultnet.Faults{Up: faultnet.Way{CutAfter: after}})
			}
			return fmt.Sprint(after, " down"), set(faultnet.Faults{Down: faultnet.Way{CutAfter: after}})
		}},
		{"stall at a byte", target, 2, 6 * time.Second, func(r *rand.Rand) (string, func()) {
			after := 1 + r.Int64N(4000)
			if r.IntN(2) == 0 {
				return fmt.Sprint(after, " up"), set(faultnet.Faults{Up: faultnet.Way{StallAfter: after}})
			}
			return fmt.Sprint(after, " down"), set(faultnet.Faults{Down: faultnet.Way{StallAfter: after}})
		}},
		{"stall", target, 2, 8 * time.Second, func(*rand.Rand) (string, func()) {
			line.Stall(true)
			return "", func() { line.Heal() }
		}},
		{"slow reader", target, 1, 5 * time.Second, func(r *rand.Rand) (string, func()) {
			rate := 200 + r.IntN(4000)
			return fmt.Sprint(rate, " B/s"), set(faultnet.Faults{Down: faultnet.Way{BytesPerSecond: rate}, Up: faultnet.Way{BytesPerSecond: rate}})
		}},
		{"loss", target, 1, 5 * time.Second, func(*rand.Rand) (string, func()) {
			return "", set(faultnet.Lossy(0.1, 100*time.Millisecond))
		}},
		{"move", target, 3, time.Millisecond, func(r *rand.Rand) (string, func()) {
			c := w.controllers[r.IntN(len(w.controllers))]
			n.proxy.Retarget(c.agents)
			if r.IntN(3) == 0 {
				return "to " + c.name + " at the next connection", func() {}
			}
			return fmt.Sprint("to ", c.name, ", ", line.Cut(), " connections"), func() {}
		}},
		{"late bytes", target, 4, 8 * time.Second, func(r *rand.Rand) (string, func()) {
			c := w.controllers[r.IntN(len(w.controllers))]
			n.proxy.Retarget(c.agents)
			held, after := line.Hold(), time.Duration(r.IntN(1500))*time.Millisecond
			leave := time.AfterFunc(after, line.Leave)
			return fmt.Sprint(held, " connections, the next to ", c.name, " after ", after), func() {
				leave.Stop()
				line.Leave()
				line.Release()
			}
		}},
		{"down", target, 1, 4 * time.Second, func(*rand.Rand) (string, func()) {
			line.Down(true)
			return "", func() { line.Heal() }
		}},
	}
}

// nodeFaults are those of a machine.
func (w *world) nodeFaults(n *node) []fault {
	all := []fault{
		{"kill", n.name, 5, time.Second, func(*rand.Rand) (string, func()) {
			n.agent.kill()
			return "", func() { w.supervise(n) }
		}},
		{"freeze", n.name, 1, 5 * time.Second, func(*rand.Rand) (string, func()) {
			n.agent.signal(syscall.SIGSTOP)
			return "", func() { n.agent.signal(syscall.SIGCONT) }
		}},
		{"clock", n.name, 1, 5 * time.Second, func(r *rand.Rand) (string, func()) {
			off := time.Duration(r.Int64N(int64(20*time.Minute))) - 10*time.Minute
			if r.IntN(4) == 0 {
				off = 25 * time.Hour // past the certificate's end
			}
			must(w.t, os.WriteFile(n.clock, []byte(off.String()), 0o600))
			return off.String(), func() { must(w.t, os.WriteFile(n.clock, []byte("0s"), 0o600)) }
		}},
		{"engine away", n.name + "'s engine", 1, 3 * time.Second, func(*rand.Rand) (string, func()) {
			n.engine.Away(true)
			return "", func() { n.engine.Away(false) }
		}},
	}
	if n.disk {
		all = append(all, fault{"disk full", n.name + "'s disk", 2, 4 * time.Second, func(*rand.Rand) (string, func()) {
			ballast := filepath.Join(n.dir, "ballast")
			f, err := os.Create(ballast)
			must(w.t, err)
			for size := 64 << 10; size > 0; size /= 2 { // to the last byte
				for err = nil; err == nil; {
					_, err = f.Write(bytes.Repeat([]byte{1}, size))
				}
			}
			_ = f.Close()
			return "", func() {
				must(w.t, os.Remove(ballast))
				w.supervise(n) // one that was started meanwhile may have ended
			}
		}})
	}
	return all
}

// supervise starts a node's agent that does not run, as the node's engine does.
func (w *world) supervise(n *node) {
	if !n.agent.running() {
		n.agent.start(w.t)
	}
}

// misbehave has one fault after the other, several at a time, until ctx ends;
// then it ends them all. What it draws follows from the seed alone.
func (w *world) misbehave(ctx context.Context, round uint64) map[string]int {
	type active struct {
		fault
		until time.Time
		end   func()
	}
	r, all, had := w.random(round<<16), w.faults(), map[string]int{}
	total := 0
	for i, f := range all {
		if strings.Contains(os.Getenv("CHAOS_WITHOUT"), f.name) {
			all[i].weight = 0
		}
		total += all[i].weight
	}
	open := map[string]*active{}
	finish := func(a *active) {
		w.tell("%s: %s ends", a.target, a.name)
		a.end()
		delete(open, a.target)
	}
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(100+r.IntN(900))*time.Millisecond)
		for _, a := range open {
			if time.Now().After(a.until) {
				finish(a)
			}
		}
		n, lasts := r.IntN(total), r.Float64()
		own := rand.New(rand.NewPCG(r.Uint64(), 0)) // as many draws as a fault likes
		for _, f := range all {
			if n -= f.weight; n >= 0 {
				continue
			}
			if open[f.target] == nil && ctx.Err() == nil {
				detail, end := f.begin(own)
				w.tell("%s: %s %s", f.target, f.name, detail)
				had[f.name]++
				open[f.target] = &active{f, time.Now().Add(time.Duration(lasts * float64(f.longest))), end}
			}
			break
		}
	}
	for len(open) > 0 {
		for _, a := range open {
			finish(a)
		}
	}
	return had
}
