// Package memory gives back to the operating system what bursts left behind.
//
// The runtime collects when the heap has doubled, and keeps for a while what it
// freed. After ten thousand agents have reported to a controller at once that is
// as much again as they take, and stays until as much has been allocated anew:
// for minutes, when all they say is heartbeats. Of an agent after a deployment
// the same is true.
package memory

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

// worth is how much must be to gain, as a part of what lives: a collection costs
// processor time by what lives.
const worth = 1.0 / 3

// Options say when memory is given back.
type Options struct {
	// Period is how often memory is looked at.
	Period time.Duration
	// Calm is the most that may be allocated each second, as a part of what
	// lives, for a burst to be over.
	Calm float64
	// Busy is the most processor time that may be used, as a part of what there
	// is, for a burst to be over: what arrives by the thousand and is answered
	// without allocating much would wait for the collection. 0 is no bound.
	Busy float64
	// Worth is how many bytes must be to gain at least.
	Worth uint64
	// Program lets go of the program's own file in memory, too, at each look
	// at a calm process; see forgetProgram.
	Program bool
	// GCPercent is that of debug.SetGCPercent while the keeper runs; 0 leaves
	// it as it is, as does GOGC in the environment.
	GCPercent int
}

// Usage is what the process uses: bytes, and processor time.
type Usage struct {
	// Live is what the last collection left, Objects what there is now with
	// the garbage since, Free what is kept for later.
	Live, Objects, Free uint64
	// Allocated is everything ever allocated.
	Allocated uint64
	// Processors is all the processor time ever used.
	Processors time.Duration
}

// Keeper looks after the memory of this process. There is one in a process.
type Keeper struct {
	// Read returns what is held, Collect gives back what can be, Forget lets
	// go of the program's file; nil to keep it.
	Read    func() Usage
	Collect func()
	Forget  func()
	options Options
	// last is what was held at the last look.
	last Usage
}

// New returns a keeper of this process's memory.
func New(options Options) *Keeper {
	k := &Keeper{Read: read, Collect: debug.FreeOSMemory, options: options}
	if options.Program {
		k.Forget = func() { _ = forgetProgram() } // then it stays where it is
	}
	return k
}

// Run looks once in each period until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if percent := k.options.GCPercent; percent > 0 && os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(percent))
	}
	tick := time.NewTicker(k.options.Period)
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

// Look lets go of the program's file if the process is calm, and collects if that
// is worth it, too. It is for one goroutine, once in each period.
func (k *Keeper) Look() {
	now, was := k.Read(), k.last
	k.last = now
	if was.Allocated == 0 { // the first look
		return
	}
	live := float64(now.Live)
	if float64(now.Allocated-was.Allocated) > k.options.Calm*live*k.options.Period.Seconds() {
		return
	}
	if k.options.Busy > 0 {
		had := k.options.Period * time.Duration(runtime.GOMAXPROCS(0))
		if float64(now.Processors-was.Processors) > k.options.Busy*float64(had) {
			return
		}
	}
	// What rest needs comes back from the kernel's cache, in a few hundred page
	// faults: less than finding out whether it is worth it.
	if k.Forget != nil {
		defer k.Forget()
	}
	gain := float64(now.Free)
	if now.Objects > now.Live {
		gain += float64(now.Objects - now.Live)
	}
	if gain > worth*live && gain > float64(k.options.Worth) {
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
		Free: samples[2].Value.Uint64(), Allocated: samples[3].Value.Uint64(), Processors: processorTime(),
	}
}

// processorTime returns the processor time that the process has used; 0 when the
// system does not tell.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
