package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/shared/agentrt/internal/backoff"
)

func policy() backoff.Policy {
	return backoff.Policy{Base: 500 * time.Millisecond, Cap: 60 * time.Second}
}

// almostOne is the largest number a source of randomness gives.
func almostOne() float64 { return 1 - 1e-9 }

func TestTheCeilingDoublesUpToTheCap(t *testing.T) {
	b := backoff.New(policy(), almostOne)
	for i, want := range []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
		16 * time.Second, 32 * time.Second, 60 * time.Second, 60 * time.Second,
	} {
		if got := b.Next().Round(time.Millisecond); got != want {
			t.Errorf("attempt %d: %v, want %v", i, got, want)
		}
	}
	b.Reset()
	if got := b.Next().Round(time.Millisecond); got != 500*time.Millisecond {
		t.Errorf("after a reset: %v", got)
	}
}

func TestJitterIsFull(t *testing.T) {
	b := backoff.New(policy(), func() float64 { return 0 })
	for range 10 {
		if got := b.Next(); got != 0 {
			t.Fatalf("got %v, want 0", got)
		}
	}
}

func TestAnotherPolicyKeepsTheCount(t *testing.T) {
	b := backoff.New(policy(), almostOne)
	b.Next()
	b.Next()
	b.Adopt(backoff.Policy{Base: time.Second, Cap: 3 * time.Second})
	if got := b.Next().Round(time.Millisecond); got != 3*time.Second {
		t.Errorf("got %v, want the new cap", got)
	}
	b.Adopt(backoff.Policy{})
	if got := b.Next().Round(time.Millisecond); got != 3*time.Second {
		t.Errorf("an empty policy changed something: %v", got)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if whole := backoff.Sleep(t.Context(), time.Hour); !whole || time.Since(begin) != time.Hour {
			t.Errorf("slept %v, to the end: %v", time.Since(begin), whole)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if whole := backoff.Sleep(ctx, time.Hour); whole || time.Since(begin) != time.Minute {
			t.Errorf("slept %v, to the end: %v", time.Since(begin), whole)
		}
	})
}
