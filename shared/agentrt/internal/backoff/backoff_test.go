package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

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
	lucky := backoff.New(policy(), func() float64 { return 0 })
	for range 3 {
		if got := lucky.Next(); got != 0 {
			t.Fatalf("got %v, want 0", got)
		}
	}
}

// TestLuckMakesNobodyHammer: whatever the dice say, a series has at most 8
// attempts in its first 30 seconds, the pauses stay below their ceilings, and
// over a long time none is much shorter than a quarter of the cap.
func TestLuckMakesNobodyHammer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dice := rapid.Float64Range(0, 0.999999)
		if rapid.Bool().Draw(t, "lucky") {
			dice = rapid.Just(0.0)
		}
		b := backoff.New(policy(), func() float64 { return dice.Draw(t, "dice") })
		ceiling, total := policy().Base, time.Duration(0)
		early := 1 // the attempt that failed first
		for range 60 {
			pause := b.Next()
			if pause < 0 || pause > ceiling {
				t.Fatalf("pause %v above the ceiling %v", pause, ceiling)
			}
			ceiling = min(2*ceiling, policy().Cap)
			if total += pause; total < 30*time.Second {
				early++
			}
		}
		if early > 8 || total < 60*policy().Cap/5 {
			t.Fatalf("%d attempts in 30 seconds, %v in all", early, total)
		}
	})
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
