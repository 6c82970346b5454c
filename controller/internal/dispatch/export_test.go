package dispatch

import (
	"maps"
	"slices"

	"fairlead.dev/controller/internal/agent"
)

// Silences are what the sweep found and nobody has written down yet.
func (d *Dispatcher) Silences() []agent.Silence {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.silences))
}

// Asked is how many pings wait for their answer.
func (d *Dispatcher) Asked() int {
	d.pongs.mu.Lock()
	defer d.pongs.mu.Unlock()
	return len(d.pongs.waiting)
}
