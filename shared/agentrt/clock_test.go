package agentrt_test

import (
	"testing"
	"testing/synctest"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
)

// TestClockJumps: a clock that is set a day forward or back costs no session,
// asks for nothing but one certificate, and does not keep the agent from coming
// back after a cut or a restart.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for name, jump := range map[string]time.Duration{"forward": day, "back": -day} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := agentrttest.StartInMemory(t)
				c.SetLifetime(-5*time.Minute, day)
				m := &machine{c: c, random: func() float64 { return 0.5 }}
				stop := m.start(t)
				s := c.Accept(t)
				calmly(t, s)
				if s = attend(t, c, s, 3*time.Hour); m.takeAttempts() != 2 { // to enrol, and to serve
					t.Error("the agent connects too often before anything happened")
				}

				m.setClock(jump)
				s = attend(t, c, s, 3*time.Hour)
				if _, renewals := c.Enrolled(); renewals > 1 || m.takeAttempts() != renewals {
					t.Errorf("%d renewals after the clock was set", renewals)
				}
				s.Ping(t, 1)
				c.Cut()
				s, ok := c.Next(time.Second)
				if !ok {
					t.Fatal("after a cut the agent does not come back")
				}
				calmly(t, s)
				attend(t, c, s, time.Minute)
				stop()
				m.takeAttempts()

				stop = m.start(t)
				defer stop()
				s = c.Accept(t)
				calmly(t, s)
				_, before := c.Enrolled()
				s = attend(t, c, s, 3*day) // and certificates are renewed as ever
				s.Ping(t, 2)
				if _, after := c.Enrolled(); after-before < 5 || after-before > 8 || c.Recovered() != 0 {
					t.Errorf("%d renewals in three days, recovered %d times", after-before, c.Recovered())
				}
				if attempts := m.takeAttempts(); attempts > 9 {
					t.Errorf("%d connections in three days", attempts)
				}
			})
		})
	}
}

// calmly welcomes an agent whose heart is to beat slowly, for days that pass in
// a moment.
func calmly(t *testing.T, s *agentrttest.Session) {
	t.Helper()
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.HeartbeatPeriodMs = uint32((10 * time.Minute).Milliseconds()) })
}

// attend serves an agent for so long, and returns its last session.
func attend(t *testing.T, c *agentrttest.Controller, s *agentrttest.Session, d time.Duration) *agentrttest.Session {
	t.Helper()
	for until := time.Now().Add(d); time.Now().Before(until); {
		if next, ok := c.Next(time.Until(until)); ok {
			s = next
			calmly(t, s)
		}
	}
	return s
}
