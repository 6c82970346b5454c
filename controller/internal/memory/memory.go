// Package memory gives back to the operating system what bursts left behind.
//
// The runtime collects when the heap has doubled, and keeps for a while what it
// freed. After ten thousand agents have reported at once that is as much again
// as they take, and stays until as much has been allocated anew: for minutes,
// when all they say is heartbeats.
package memory

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// lookEvery is how often memory is looked at.
	lookEvery = 5 * time.Second
	// calm is the most that may be allocated each second, as a part of what
	// lives, for a burst to be over.
	calm = 0.02
	// worth is how much must be to gain, as a part of what lives and at least
	// so many bytes: a collection costs processor time by what lives.
	worth      = 1.0 / 3
	worthBytes = 16 << 20
)

// Usage is what the runtime holds, in bytes.
type Usage struct {
	// Live is what the last collection left, Objects what there is now with
	// the garbage since, Free what is kept for later.
	Live, Objects, Free uint64
	// Allocated is everything ever allocated.
	Allocated uint64
}

// Keeper looks after the memory of this process. There is one in a process.
type Keeper struct {
	// Read returns what is held, Collect gives back what can be.
	Read    func() Usage
	Collect func()
	// last is what was held at the last look.
	last Usage
}

// New returns a keeper of this process's memory.
func New() *Keeper { return &Keeper{Read: read, Collect: debug.FreeOSMemory} }

// Run looks every few seconds until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.Look()
		case <-ctx.Done():
			return nil
		}
	}
}

// Look collects if that is worth it and the process is calm. It is for one
// goroutine, each few seconds.
func (k *Keeper) Look() {
	now, was := k.Read(), k.last
	k.last = now
	if was.Allocated == 0 { // the first look
		return
	}
	live := float64(now.Live)
	if float64(now.Allocated-was.Allocated) > calm*live*lookEvery.Seconds() {
		return
	}
	gain := float64(now.Free)
	if now.Objects > now.Live {
		gain += float64(now.Objects - now.Live)
	}
	if gain > worth*live && gain > worthBytes {
		k.Collect()
	}
}

func read() Usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	return Usage{
		Live: samples[0].Value.Uint64(), Objects: samples[1].Value.Uint64(),
		Free: samples[2].Value.Uint64(), Allocated: samples[3].Value.Uint64(),
	}
}
