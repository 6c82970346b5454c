package system_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

// TestDatabaseStopsUnderLoad takes the database away for ten seconds while
// callers read, write and deploy.
func TestDatabaseStopsUnderLoad(t *testing.T) {
	t.Parallel()
	database := newPostgreSQL(t)
	c := newController(t, "DATABASE_URL="+database.url())
	n := c.newTeam(t).installedNode(t)
	d := n.newSample(t, nil)
	d.deploy(t)
	edited := n.newSample(t, nil)

	// This release comes to its end while nobody can write it down.
	d.setEnvironment(t, "GREETING", "deployed through it", "SAMPLE_READY_AFTER", "2s")
	must(t, d.Start(t.Context(), d.id))

	l := startLoad(t, edited)
	l.awaitCalls(t, 20)
	database.stop(t)
	down := time.NewTimer(10 * time.Second)
	l.awaitRefusals(t, 20)
	<-down.C
	database.start(t)
	await(t, startPatience, "the controller to be ready again", func() (bool, string, error) {
		err := c.Call(t.Context(), http.MethodGet, "/readyz", nil, nil)
		return err == nil, fmt.Sprint(err), nil
	})
	l.awaitCalls(t, 20)
	l.stop(t)

	n.awaitConnected(t)
	if seen := d.mustEnd(t, client.Successful); seen.LastTry != 2 {
		t.Errorf("the deployment is at release %d, want 2", seen.LastTry)
	}
	d.mustGreet(t, "deployed through it")
	l.mustBeWhole(t)
	// And it goes on as if nothing had been.
	d.setEnvironment(t, "GREETING", "and on")
	d.deploy(t)
	d.mustGreet(t, "and on")
}

// load is several clients that call the API a hundred times a second each.
type load struct {
	on     *deployed
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu sync.Mutex
	// fine and refused count the answers since the last await.
	fine, refused int
	odd           []error
	// agreed is the last value that the API took, attempts those it was sent
	// after: of a refused one nobody knows.
	agreed   string
	attempts []string
}

func startLoad(t testing.TB, on *deployed) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{on: on, cancel: cancel}
	t.Cleanup(cancel)
	calls := []func(i int) error{
		func(int) error { _, err := on.Deployment(ctx, on.id); return err },
		func(int) error { _, err := on.Containers(ctx, on.node.id, ""); return err },
		func(i int) error { return l.edit(ctx, fmt.Sprint("edit ", i)) },
	}
	for _, call := range calls {
		l.done.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				if err := call(i); ctx.Err() == nil {
					l.note(err)
				}
				<-tick.C
			}
		})
	}
	return l
}

func (l *load) edit(ctx context.Context, value string) error {
	l.mu.Lock()
	l.attempts = append(l.attempts, value)
	l.mu.Unlock()
	err := l.on.SetEnvironment(ctx, l.on.id, client.KeyValue{Key: "GREETING", Value: value})
	if err == nil {
		l.mu.Lock()
		l.agreed, l.attempts = value, nil
		l.mu.Unlock()
	}
	return err
}

// note counts an answer: fine, or a 503 that says what is wrong. Anything else
// is odd.
func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var problem *client.Problem
	switch {
	case err == nil:
		l.fine++
	case errors.As(err, &problem) && problem.Status == http.StatusServiceUnavailable && problem.Message != "":
		l.refused++
	case len(l.odd) < 10:
		l.odd = append(l.odd, err)
	}
}

func (l *load) awaitCalls(t testing.TB, n int)    { l.await(t, "calls to succeed", n, &l.fine) }
func (l *load) awaitRefusals(t testing.TB, n int) { l.await(t, "calls to be refused", n, &l.refused) }

func (l *load) await(t testing.TB, what string, n int, count *int) {
	t.Helper()
	l.mu.Lock()
	*count = 0
	l.mu.Unlock()
	await(t, startPatience, fmt.Sprint(n, " ", what), func() (bool, string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return *count >= n, fmt.Sprintf("%d, and odd ones: %v", *count, l.odd), nil
	})
}

// stop ends the load. Every answer must have been 2xx or a clear 503.
func (l *load) stop(t testing.TB) {
	t.Helper()
	l.cancel()
	l.done.Wait()
	if len(l.odd) > 0 {
		t.Errorf("calls ended as none should: %v", errors.Join(l.odd...))
	}
}

// mustBeWhole fails when the last value the API took is lost.
func (l *load) mustBeWhole(t testing.TB) {
	t.Helper()
	seen, err := l.on.Deployment(t.Context(), l.on.id)
	must(t, err)
	if len(seen.Environment) != 1 {
		t.Fatalf("the environment is %+v", seen.Environment)
	}
	if got := seen.Environment[0].Value; got != l.agreed && !slices.Contains(l.attempts, got) {
		t.Errorf("the environment holds %q; the API took %q, and may have taken %q after", got, l.agreed, l.attempts)
	}
}
