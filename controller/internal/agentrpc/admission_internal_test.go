package agentrpc

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// storm lets n agents try at once and come back when they are told to, until
// all are in, and returns how often each had to try and how long it took.
func storm(t *testing.T, limits Limits, n int, lasts time.Duration) (tries map[uuid.UUID]int, perSecond map[int]int, took time.Duration) {
	t.Helper()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := start
	a := newAdmission(limits.withDefaults(), func() time.Time { return now })
	type agent struct {
		id   uuid.UUID
		next time.Time
	}
	var waiting []*agent
	for range n {
		waiting = append(waiting, &agent{id: uuid.New(), next: now})
	}
	tries, perSecond = map[uuid.UUID]int{}, map[int]int{}
	var leaves []time.Time
	for step := 10 * time.Millisecond; len(waiting) > 0; now = now.Add(step) {
		if now.Sub(start) > 10*time.Minute {
			t.Fatalf("%d agents are not in after ten minutes", len(waiting))
		}
		for len(leaves) > 0 && !now.Before(leaves[0]) {
			a.leave()
			leaves = leaves[1:]
		}
		var still []*agent
		for _, one := range waiting {
			if now.Before(one.next) {
				still = append(still, one)
				continue
			}
			tries[one.id]++
			perSecond[int(now.Sub(start)/time.Second)]++
			if wait := a.enter(one.id); wait > 0 {
				one.next = now.Add(wait)
				still = append(still, one)
			} else {
				leaves = append(leaves, now.Add(lasts))
				if len(leaves) > limits.Opening {
					t.Fatalf("%d open a session at once, %d may", len(leaves), limits.Opening)
				}
			}
		}
		waiting = still
	}
	return tries, perSecond, now.Sub(start)
}

func TestAStormIsSpreadAndNobodyStarves(t *testing.T) {
	const n = 10_000
	tries, perSecond, took := storm(t, Limits{OpenRate: 500, OpenBurst: 500, Opening: 500}, n, 100*time.Millisecond)
	if took > 25*time.Second {
		t.Errorf("all were in after %s; the rate allows 19 s", took)
	}
	for second, count := range perSecond {
		if second > 0 && count > 800 {
			t.Errorf("%d tries in second %d, with room for 500", count, second)
		}
	}
	for _, count := range tries {
		if count > 4 {
			t.Errorf("an agent had to try %d times", count)
			break
		}
	}
}

func TestAStormOnASlowDatabaseEndsToo(t *testing.T) {
	// Each opening takes 2 s, and 100 may be under way: 50 a second.
	tries, _, took := storm(t, Limits{OpenRate: 1000, OpenBurst: 1000, Opening: 100}, 1000, 2*time.Second)
	if took > 40*time.Second {
		t.Errorf("all were in after %s, at best 20 s", took)
	}
	for _, count := range tries {
		if count > 40 {
			t.Errorf("an agent had to try %d times", count)
			break
		}
	}
}

func TestWhoComesTooEarlyKeepsItsPlace(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := newAdmission(Limits{OpenRate: 1, OpenBurst: 1, Opening: 10}.withDefaults(), func() time.Time { return now })
	first, second, third := uuid.New(), uuid.New(), uuid.New()
	if a.enter(first) != 0 {
		t.Fatal("the first is not let in")
	}
	wait := a.enter(second)
	a.enter(third)
	now = now.Add(wait / 2)
	if again := a.enter(second); again <= 0 || again > wait/2+time.Millisecond {
		t.Errorf("too early, it is told to wait %s of %s", again, wait)
	}
	now = now.Add(wait / 2)
	if a.enter(third) == 0 || a.enter(second) != 0 {
		t.Error("the third got the second's place")
	}
}

func TestFailedEnrolmentsAreLimitedPerAddressAndGoodOnesAreNot(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	g := newGate(Limits{FailBurst: 3, FailEvery: time.Second, EnrolRate: 200, EnrolBurst: 1000}.withDefaults(), func() time.Time { return now })
	for i := range 500 {
		if err := g.enter("10.0.0.1"); err != nil {
			t.Fatalf("good attempt %d: %v", i, err)
		}
	}
	for range 3 {
		g.fail("10.0.0.2")
	}
	if g.enter("10.0.0.2") == nil {
		t.Error("an address whose attempts fail goes on")
	}
	if err := g.enter("10.0.0.1"); err != nil {
		t.Errorf("another address: %v", err)
	}
	now = now.Add(2 * time.Second)
	if err := g.enter("10.0.0.2"); err != nil {
		t.Errorf("a while later: %v", err)
	}
}
