package agentrt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
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
	l := newLink(agent, dir, state.Identity{}, nil, nil, nil, nil)
	if l.updates, err = newUpdater(agent, dir, nil); err != nil {
		t.Fatal(err)
	}
	return l
}

func refuse(reason agentv1.RefusalReason, retryAfter time.Duration) error {
	return &refusal{reason: reason, retryAfter: retryAfter, err: errors.New(reason.String())}
}

func TestPauses(t *testing.T) {
	const (
		busy     = agentv1.RefusalReason_REFUSAL_REASON_BUSY
		replaced = agentv1.RefusalReason_REFUSAL_REASON_REPLACED
		cloned   = agentv1.RefusalReason_REFUSAL_REASON_CLONED
		protocol = agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL
	)
	for _, c := range []struct {
		name  string
		ended error
		least time.Duration
		most  time.Duration
	}{
		{"asked to come back", &comeBack{after: time.Minute}, time.Minute, time.Minute + 15*time.Second},
		{"asked to come back some day", &comeBack{after: 1000 * time.Hour}, maxRetryAfter, 2 * maxRetryAfter},
		{"busy", refuse(busy, 8*time.Second), 8 * time.Second, 10 * time.Second},
		{"busy, come at once", refuse(busy, time.Millisecond), time.Millisecond, time.Second},
		{"busy, no word when", refuse(busy, 0), 0, 500 * time.Millisecond},
		{"replaced", refuse(replaced, 0), slowRetry / 2, slowRetry},
		{"cloned", refuse(cloned, 0), slowRetry / 2, slowRetry},
		{"cloned, come back later", refuse(cloned, 5*time.Minute), 5 * time.Minute, 5 * time.Minute},
		{"protocol", refuse(protocol, 0), slowRetry / 2, slowRetry},
		{"anything else", errors.New("x"), 0, 500 * time.Millisecond},
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

// TestNobodyFightsOverAnIdentity: of two processes that replace each other,
// each stands back further every time, until one is left undisturbed.
func TestNobodyFightsOverAnIdentity(t *testing.T) {
	l := patient(t, 0.5)
	var pauses []time.Duration
	for _, reason := range []agentv1.RefusalReason{
		agentv1.RefusalReason_REFUSAL_REASON_REPLACED, agentv1.RefusalReason_REFUSAL_REASON_CLONED, agentv1.RefusalReason_REFUSAL_REASON_REPLACED,
		agentv1.RefusalReason_REFUSAL_REASON_REPLACED, agentv1.RefusalReason_REFUSAL_REASON_REPLACED, agentv1.RefusalReason_REFUSAL_REASON_REPLACED,
	} {
		pause, err := l.judge(refuse(reason, 0))
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, pause)
		l.settle(healthy(l, 5*time.Minute)) // served for a while in between
	}
	want := []time.Duration{45 * time.Second, 90 * time.Second, 3 * time.Minute, 6 * time.Minute, 12 * time.Minute, 12 * time.Minute}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	l.settle(healthy(l, undisputed))
	if pause, _ := l.judge(refuse(agentv1.RefusalReason_REFUSAL_REASON_REPLACED, 0)); pause != want[0] {
		t.Errorf("after it was undisputed it stands back for %v", pause)
	}
}

// healthy returns a session that was healthy for so long.
func healthy(l *link, d time.Duration) *session {
	s := &session{link: l}
	s.echo.Store(int64(d))
	return s
}

// TestOnlyHealthResetsTheBackOff: sessions that come about and end, however
// often, do not.
func TestOnlyHealthResetsTheBackOff(t *testing.T) {
	l := patient(t, 0.999)
	l.resetAfter = time.Minute
	pause := func() time.Duration {
		p, err := l.judge(errors.New("hung up"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for range 5 {
		pause()
		l.settle(healthy(l, 59*time.Second))
	}
	if p := pause(); p < 15*time.Second {
		t.Errorf("the pause is %v after five short sessions", p)
	}
	l.settle(healthy(l, time.Minute))
	if p := pause(); p > time.Second {
		t.Errorf("the pause is %v after a healthy session", p)
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
		backoff.Sleep(t.Context(), time.Hour) // silence again
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
	const day = 24 * time.Hour
	now := time.Unix(0, 0).Add(1000 * day)
	for _, c := range []struct {
		name   string
		from   time.Duration // when the certificate begins, from now
		since  time.Duration // when the agent got it, from now; 1 for one from the disk
		random float64
		want   time.Duration
	}{
		{"at the earliest", 0, 0, 0, 4 * day / 10},
		{"in the middle", 0, 0, 0.5, day / 2},
		{"at the latest", 0, 0, 1, 6 * day / 10},
		{"some time ago", -6 * time.Hour, -6 * time.Hour, 0.5, 6 * time.Hour},
		{"from the disk", -6 * time.Hour, 1, 0.5, 6 * time.Hour},
		{"from the disk and past", -20 * time.Hour, 1, 0.5, -8 * time.Hour},
		{"from the disk, by a clock that is behind", day, 1, 0.5, day / 2},
		{"new, by a clock that is ahead", -day, 0, 0.5, day / 2},
		{"new, by a clock that is behind", day, 0, 0.5, day / 2},
		{"of a clock that was set back since", 0, day, 0.5, day / 2},
	} {
		l := patient(t, c.random)
		l.agent.config.Now = func() time.Time { return now }
		if c.since != 1 {
			l.ownSince = now.Add(c.since)
		}
		from := now.Add(c.from)
		s := &session{link: l, own: tls.Certificate{Leaf: &x509.Certificate{NotBefore: from, NotAfter: from.Add(day)}}}
		if got := s.renewalWait().Round(time.Second); got != c.want {
			t.Errorf("%s: in %v, want %v", c.name, got, c.want)
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
