package report

// flight is what one session told on its way into the database.
type flight struct {
	line *Line
	told *told
	// known is the line's when this took off.
	known *digest
	// What commit found, valid when it succeeded.
	refused  error
	sequence uint64
	spool    string
	fact     uint64
	compared bool
}

// takeOff takes along what waits; nil when nothing does.
func (l *Line) takeOff() *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		return nil
	}
	f := &flight{line: l, told: l.waiting, known: l.known}
	l.waiting, l.flying = nil, true
	l.makeRoom()
	return f
}

// land tells the session what became of it.
func (f *flight) land() {
	l := f.line
	l.recorder.budget.give(f.told.bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = false
	if f.refused != nil {
		l.drop()
	}
	if l.closed {
		return
	}
	if f.refused != nil {
		l.err = f.refused
		l.listener.Refused(f.refused)
		return
	}
	l.sequence, l.spool, l.fact = max(l.sequence, f.sequence), f.spool, f.fact
	if f.compared {
		known := f.told.digest.sort()
		l.known = &known
	}
	if f.told.reports > 0 {
		l.listener.Committed(l.sequence, l.fact)
	}
}
