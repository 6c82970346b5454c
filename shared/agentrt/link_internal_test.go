package agentrt

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
)

// patient returns a link whose jitter is always the same part of the ceiling.
func patient(t *testing.T, part float64) *link {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	agent := New(Config{Log: slog.New(slog.DiscardHandler), Random: func() float64 { return part }})
	return newLink(agent, dir, state.Identity{}, nil, nil, nil)
}

func TestPausesGrowWhenAcceptedSessionsAreRejected(t *testing.T) {
	l := patient(t, 0.5)
	busy := &refusal{reason: agentv1.RefusalReason_REFUSAL_REASON_BUSY, retryAfter: time.Second, err: errors.New("busy")}
	last := time.Duration(0)
	for _, ended := range []error{busy, errors.New("hung up"), &comeBack{}, busy} {
		pause, err := l.judge(ended)
		if err != nil {
			t.Fatal(err)
		}
		if errors.Is(ended, busy) {
			pause -= busy.retryAfter
		}
		if pause <= last {
			t.Errorf("%v after %v", pause, last)
		}
		last = pause
	}
}

func TestPauses(t *testing.T) {
	for _, c := range []struct {
		name  string
		ended error
		least time.Duration
		most  time.Duration
	}{
		{"renewed", errRenewed, 0, 0},
		{"asked to come back", &comeBack{after: time.Minute}, time.Minute, time.Minute + time.Second},
		{"replaced", &refusal{reason: agentv1.RefusalReason_REFUSAL_REASON_REPLACED, err: errors.New("x")}, slowRetry / 2, slowRetry},
		{"protocol", &refusal{reason: agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL, err: errors.New("x")}, slowRetry, slowRetry},
		{"anything else", errors.New("x"), 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, part := range []float64{0, 0.99} {
				pause, err := patient(t, part).judge(c.ended)
				if err != nil || pause < c.least || pause > c.most {
					t.Errorf("pause %v, error %v, want %v to %v", pause, err, c.least, c.most)
				}
			}
		})
	}
}

func TestRevocationIsRemembered(t *testing.T) {
	l := patient(t, 0)
	_, err := l.judge(&refusal{reason: agentv1.RefusalReason_REFUSAL_REASON_REVOKED, err: errors.New("node deleted")})
	if !errors.Is(err, ErrRevoked) {
		t.Fatalf("error %v", err)
	}
	if reason, ok, err := l.dir.Revoked(); !ok || err != nil || reason != "node deleted" {
		t.Errorf("remembered %q, %v, %v", reason, ok, err)
	}
}

// TestOnlyAnEchoMakesASessionHealthy: a controller that accepts and says
// nothing must not reset the back-off, however long it stays.
func TestOnlyAnEchoMakesASessionHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{link: patient(t, 0), log: slog.New(slog.DiscardHandler), began: time.Now(), period: time.Second}
		backoff.Sleep(t.Context(), time.Hour)
		if got := s.healthyFor(); got != 0 {
			t.Errorf("healthy for %v without an echo", got)
		}
		s.echoed()
		if got := s.healthyFor(); got != time.Hour {
			t.Errorf("healthy for %v", got)
		}
	})
}

func TestSilenceEndsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{link: patient(t, 0), log: slog.New(slog.DiscardHandler), began: time.Now(), period: time.Second}
		ended := make(chan error, 1)
		go func() { ended <- s.pulse(t.Context()) }()
		for range 10 {
			backoff.Sleep(t.Context(), time.Second)
			s.echoed()
		}
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("ended in spite of echoes: %v", err)
		default:
		}
		backoff.Sleep(t.Context(), time.Minute)
		if err := <-ended; err == nil {
			t.Error("silence is no error")
		}
	})
}

func TestRenewalIsAroundHalfLife(t *testing.T) {
	from := time.Unix(0, 0)
	leaf := &x509.Certificate{NotBefore: from, NotAfter: from.Add(24 * time.Hour)}
	for random, want := range map[float64]float64{0: 0.4, 0.5: 0.5, 0.999999: 0.6} {
		got := renewalTime(leaf, random).Sub(from).Hours() / 24
		if got < want-0.001 || got > want+0.001 {
			t.Errorf("at %v of life, want %v", got, want)
		}
	}
}

func TestTheControllersNumbersAreAdopted(t *testing.T) {
	l := patient(t, 0.5)
	adopt(l, &agentv1.Backoff{BaseMs: 10_000, CapMs: 10_000, ResetAfterMs: 5000})
	if pause := l.pauses.Next(); pause != 5*time.Second || l.resetAfter != 5*time.Second {
		t.Errorf("pause %v, reset after %v", pause, l.resetAfter)
	}
	adopt(l, nil)
	if l.resetAfter != 5*time.Second {
		t.Error("no numbers changed something")
	}
}
