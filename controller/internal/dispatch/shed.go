package dispatch

// Staying counts the sessions that were not asked to go elsewhere.
func (d *Dispatcher) Staying() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, l := range d.byAgent {
		if !l.leaving.Load() {
			n++
		}
	}
	return n
}

// Shed ends up to n sessions, any that were not ended so before; why is called
// for each.
func (d *Dispatcher) Shed(n int, why func() error) {
	for _, l := range d.lines() {
		if n <= 0 {
			return
		}
		if l.leaving.CompareAndSwap(false, true) {
			n--
			l.sender.End(why())
		}
	}
}
