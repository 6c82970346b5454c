package table

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fairlead.dev/shared/edgeapi"
)

// failedFor is how long an upstream that could not be reached is passed over
// while there are others.
const failedFor = 2 * time.Second

// backend is what is known of an upstream.
type backend struct {
	inFlight int
	// turn counts up with what is picked in the table: the smallest is the one
	// that has waited longest.
	turn uint64
	// failed is when it could not be reached.
	failed time.Time
	// unused is true when no route has it: it goes with its last request.
	unused bool
	// idle is closed when the last request ends; nil when nobody waits.
	idle chan struct{}
}

// Lease is one request's claim on an upstream. It may move to another upstream
// when the first could not be reached.
type Lease struct {
	table      *Table
	host, path string
	at         string
	tried      []string
}

// Lease begins a request for a host and path.
func (t *Table) Lease(host, path string) *Lease {
	return &Lease{table: t, host: hostOnly(host), path: path}
}

// Next picks an upstream of the route that the request takes now, which is
// another when routes were changed after the request began: the healthy one
// with the fewest requests under way, by turns where several have. What was picked before counts as failed.
// Looking and counting are one step, so that whoever changes the routes and
// then looks at the counts misses no request.
func (l *Lease) Next() (edgeapi.Upstream, bool) {
	t := l.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.at != "" {
		if b := t.backends[l.at]; b != nil {
			b.failed = t.now()
		}
		l.tried = append(l.tried, l.at)
		l.leave()
	}
	route := t.find(l.host, l.path)
	if route == nil || len(route.Upstreams) == 0 {
		return edgeapi.Upstream{}, false
	}
	best := slices.MinFunc(route.Upstreams, func(a, b edgeapi.Upstream) int {
		if d := l.penalty(a) - l.penalty(b); d != 0 {
			return d
		}
		x, y := t.backends[a.ID], t.backends[b.ID]
		return cmp.Or(cmp.Compare(x.inFlight, y.inFlight), cmp.Compare(x.turn, y.turn))
	})
	l.at = best.ID
	t.turns++
	t.backends[best.ID].turn = t.turns
	t.backends[best.ID].inFlight++
	return best, true
}

// penalty orders upstreams: those that are fine, the unhealthy, those that
// could not be reached a moment ago, those that this request has tried.
func (l *Lease) penalty(u edgeapi.Upstream) int {
	penalty := 0
	if slices.Contains(l.tried, u.ID) {
		penalty += 4
	}
	if b := l.table.backends[u.ID]; !b.failed.IsZero() && l.table.now().Sub(b.failed) < failedFor {
		penalty += 2
	}
	if u.Unhealthy {
		penalty++
	}
	return penalty
}

// End ends the request.
func (l *Lease) End() {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	l.leave()
}

func (l *Lease) leave() {
	b := l.table.backends[l.at]
	if l.at == "" || b == nil {
		return
	}
	b.inFlight--
	if b.inFlight == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
	if b.inFlight == 0 && b.unused {
		delete(l.table.backends, l.at)
	}
	l.at = ""
}

// Drain waits until none of the upstreams has a request under way, or ctx
// ends, and returns how many there are.
func (t *Table) Drain(ctx context.Context, upstreams []string) (left int) {
	for {
		left, idle := t.busy(upstreams)
		if left == 0 {
			return 0
		}
		select {
		case <-idle:
		case <-ctx.Done():
			left, _ = t.busy(upstreams)
			return left
		}
	}
}

// busy counts the requests of upstreams, and says when one of them has none.
func (t *Table) busy(upstreams []string) (left int, idle <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range upstreams {
		b := t.backends[id]
		if b == nil || b.inFlight == 0 {
			continue
		}
		left += b.inFlight
		if b.idle == nil {
			b.idle = make(chan struct{})
		}
		idle = b.idle
	}
	return left, idle
}
