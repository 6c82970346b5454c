package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/controller/internal/replica"
	"fairlead.dev/shared/apperr"
)

// outage is a replica's view of the world, in the test's hands.
type outage struct {
	mu       sync.Mutex
	database error
	peer     replica.Health
	peerErr  error
	sessions int
	asked    int
	most     int
	listed   bool
	// returns has the database be back for all when the other replica is asked
	// next.
	returns bool
}

func (o *outage) set(change func(o *outage)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *outage) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sessions
}

func (o *outage) watch(t *testing.T) *replica.Vigil {
	t.Helper()
	v := replica.NewVigil(replica.VigilConfig{
		Ask: func(context.Context) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.database
		},
		List: func(context.Context) ([]replica.Peer, error) {
			o.set(func(o *outage) { o.listed = true })
			return []replica.Peer{{Name: "other", Address: "other:1"}}, nil
		},
		Health: func(context.Context, string) (replica.Health, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.asked++
			if o.returns {
				o.database, o.peer.Database = nil, true
			}
			return o.peer, o.peerErr
		},
		Sessions: o.left,
		Shed: func(n int) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.sessions -= n
			o.most = max(o.most, n)
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	await(t, func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.listed })
	return v
}

// await waits in the bubble's time.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for range 10_000 {
		if done() {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("waited too long")
}

func TestSessionsAreKeptUntilAnotherReplicaCanTakeThem(t *testing.T) {
	for name, c := range map[string]struct {
		peer    replica.Health
		peerErr error
	}{
		"no other has it either":      {replica.Health{Database: false, Accepting: true}, nil},
		"the other does not answer":   {replica.Health{}, errors.New("away")},
		"the other takes no sessions": {replica.Health{Database: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &outage{sessions: 100, peer: c.peer, peerErr: c.peerErr}
				v := o.watch(t)
				o.set(func(o *outage) { o.database = errors.New("gone") })
				await(t, func() bool { return apperr.Is(v.Present(), apperr.Unavailable) })
				before := 0
				o.set(func(o *outage) { before = o.asked })
				await(t, func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.asked >= before+3 })
				if left := o.left(); left != 100 {
					t.Errorf("%d of 100 sessions are left", left)
				}
				// As soon as one can, they go, a few at a time.
				o.set(func(o *outage) { o.peer, o.peerErr = replica.Health{Database: true, Accepting: true}, nil })
				await(t, func() bool { return o.left() == 0 })
				if o.most > 4 {
					t.Errorf("%d of 100 sessions went at once", o.most)
				}
			})
		})
	}
}

func TestSheddingEndsWhenTheDatabaseReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{sessions: 1000, peer: replica.Health{Database: true, Accepting: true}}
		v := o.watch(t)
		o.set(func(o *outage) { o.database = errors.New("gone") })
		await(t, func() bool { return o.left() < 1000 })
		o.set(func(o *outage) { o.database = nil })
		await(t, func() bool { return v.Present() == nil })
		left := o.left()
		if left == 0 {
			t.Fatal("all went before the database could return")
		}
		<-time.After(time.Minute)
		if o.left() != left {
			t.Errorf("%d sessions are left of the %d that there were when the database was back", o.left(), left)
		}
	})
}

// TestADatabaseThatReturnsForAllMovesNobody: the other replica finds that it is
// back just before this one does.
func TestADatabaseThatReturnsForAllMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{sessions: 1000, peer: replica.Health{Accepting: true}}
		v := o.watch(t)
		o.set(func(o *outage) { o.database = errors.New("gone") })
		await(t, func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.asked >= 3 })
		o.set(func(o *outage) { o.returns = true })
		await(t, func() bool { return v.Present() == nil })
		if left := o.left(); left != 1000 {
			t.Errorf("%d of 1000 sessions are left", left)
		}
	})
}
