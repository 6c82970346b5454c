package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent has the collector run earlier than by default: what an agent
	// holds is little, and a node's memory is for what it runs.
	gcPercent = 40
	// thriftPause is how often is looked for memory to give back.
	thriftPause = 15 * time.Second
	// spareBytes is how much unused memory is worth giving back.
	spareBytes = 1 << 20
)

// beThrifty gives the system back what a deployment took, until ctx ends. The
// runtime would keep it for a while.
func beThrifty(ctx context.Context) error {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	free := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(thriftPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		metrics.Read(free)
		if free[0].Value.Uint64() > spareBytes {
			debug.FreeOSMemory()
		}
	}
}
