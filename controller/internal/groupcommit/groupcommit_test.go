package groupcommit_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"fairlead.dev/controller/internal/groupcommit"
	"fairlead.dev/shared/apperr"
)

// store answers twice the number; it waits for leave before it does, and keeps
// what each group had.
type store struct {
	began chan int
	leave chan error

	mu     sync.Mutex
	groups [][]int
}

func (s *store) commit(_ context.Context, batch []int) ([]string, error) {
	s.began <- len(batch)
	err := <-s.leave
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, batch)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(batch))
	for i, n := range batch {
		if n < 0 {
			return nil, errors.New("negative")
		}
		out[i] = strconv.Itoa(2 * n)
	}
	return out, nil
}

func newStore(parallel int, key func(int) string) (*store, *groupcommit.Group[int, string]) {
	s := &store{began: make(chan int, 100), leave: make(chan error, 100)}
	return s, groupcommit.New(groupcommit.Config[int, string]{
		Commit: s.commit, Key: key, Max: 3, Parallel: parallel, Timeout: time.Minute,
	})
}

func TestWhatComesMeanwhileIsDoneTogether(t *testing.T) {
	s, g := newStore(1, nil)
	var wg sync.WaitGroup
	ask := func(n int) {
		wg.Go(func() {
			if out, err := g.Do(t.Context(), n); err != nil || out != strconv.Itoa(2*n) {
				t.Errorf("%d answers %q, %v", n, out, err)
			}
		})
	}
	ask(1)
	if n := <-s.began; n != 1 {
		t.Fatalf("the first waited for others: a group of %d", n)
	}
	for n := range 4 {
		ask(n + 2)
	}
	for g.Waiting() < 4 {
		runtime.Gosched()
	}
	for range 3 {
		s.leave <- nil
	}
	wg.Wait()
	if len(s.groups) != 3 || len(s.groups[1]) != 3 || len(s.groups[2]) != 1 {
		t.Errorf("groups were %v, want 1, 3 and 1", s.groups)
	}
}

func TestOneAfterTheOtherForOneKey(t *testing.T) {
	s, g := newStore(2, func(n int) string { return strconv.Itoa(n % 10) })
	var wg sync.WaitGroup
	for i, n := range []int{1, 11, 21} {
		wg.Go(func() { _, _ = g.Do(t.Context(), n) })
		for g.Waiting() < i {
			runtime.Gosched()
		}
		if i == 0 {
			<-s.began
		}
	}
	for range 3 {
		s.leave <- nil
	}
	wg.Wait()
	if len(s.groups) != 3 || s.groups[0][0] != 1 || s.groups[1][0] != 11 || s.groups[2][0] != 21 {
		t.Errorf("groups were %v, want 1, 11 and 21 each alone and in order", s.groups)
	}
}

func TestNobodyFailsForAnothersQuestion(t *testing.T) {
	s, g := newStore(1, nil)
	var wg sync.WaitGroup
	errs := map[int]error{}
	var mu sync.Mutex
	for i, n := range []int{0, 1, -1, 2} {
		wg.Go(func() {
			_, err := g.Do(t.Context(), n)
			mu.Lock()
			errs[n] = err
			mu.Unlock()
		})
		if i == 0 {
			<-s.began
		}
	}
	for g.Waiting() < 3 {
		runtime.Gosched()
	}
	for range 5 { // alone; three together, which fail; each of the three
		s.leave <- nil
	}
	wg.Wait()
	if errs[0] != nil || errs[1] != nil || errs[2] != nil || errs[-1] == nil {
		t.Errorf("errors are %v, want one for -1 alone", errs)
	}
}

func TestAStoreThatIsAwayIsNotAskedOneByOne(t *testing.T) {
	s, g := newStore(1, nil)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if _, err := g.Do(t.Context(), i); !apperr.Is(err, apperr.Unavailable) {
				t.Errorf("%d: %v, want unavailable", i, err)
			}
		})
		if i == 0 {
			<-s.began
		}
	}
	for g.Waiting() < 2 {
		runtime.Gosched()
	}
	for range 2 {
		s.leave <- apperr.New(apperr.Unavailable, "away")
	}
	wg.Wait()
	if len(s.groups) != 2 {
		t.Errorf("%d groups were tried, want 2", len(s.groups))
	}
}
