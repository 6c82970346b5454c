package agentrt_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
)

// renewing returns a node whose agent serves a session and tries a renewed
// certificate in another one, which is not welcomed yet.
func renewing(t *testing.T) (c *agentrttest.Controller, n *node, first, second *agentrttest.Session) {
	t.Helper()
	c = agentrttest.Start(t)
	c.SetLifetime(-10*time.Hour, time.Hour) // past its half-life when it comes
	n = newNode(t, nil)
	c.WriteEnrolment(t, n.dir, "token")
	n.start()
	first = c.Accept(t)
	c.SetLifetime(-time.Minute, 10*time.Hour)
	first.Welcome(t, 0)
	second = c.Accept(t)
	if second.Serial == first.Serial || second.AgentID != first.AgentID || second.Hello.GetBootId() != first.Hello.GetBootId() {
		t.Fatalf("certificate %s after %s, agent %s", second.Serial, first.Serial, second.AgentID)
	}
	return c, n, first, second
}

// works checks that the session is served, and that no other one is opened.
func works(t *testing.T, c *agentrttest.Controller, s *agentrttest.Session, generation uint64) {
	t.Helper()
	s.Assign(t, set(generation, deployment("shop", generation)))
	s.AwaitPhase(t, "id-shop", generation, successful)
	quiet, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	c.NoSession(t, quiet.Done())
}

func replacedError() error {
	return agentrttest.Refuse(codes.Aborted, agentv1.RefusalReason_REFUSAL_REASON_REPLACED, 0)
}

func TestARenewedCertificateIsProvenBeforeTheOldSessionGoes(t *testing.T) {
	c, n, first, second := renewing(t)
	works(t, c, first, 1)
	old := n.read("identity/key.pem")
	second.Welcome(t, 0)
	first.Over(t)
	works(t, c, second, 2)
	if n.read("identity/key.pem") == old || n.has("identity/key.next") || n.has("identity/cert.next") {
		t.Error("the new key is not the agent's now")
	}
	for _, m := range first.Messages() {
		if m.GetLeaving() != nil {
			t.Error("the agent said that it leaves")
		}
	}
	if _, renewals := c.Enrolled(); renewals != 1 {
		t.Errorf("%d renewals", renewals)
	}
}

func TestARenewedCertificateThatIsNotAcceptedCostsNoSession(t *testing.T) {
	for name, end := range map[string]error{
		"fails":             errors.New("no"),
		"busy":              agentrttest.Refuse(codes.Unavailable, agentv1.RefusalReason_REFUSAL_REASON_BUSY, time.Second),
		"taken for a clone": agentrttest.Refuse(codes.Aborted, agentv1.RefusalReason_REFUSAL_REASON_CLONED, 0),
	} {
		t.Run(name, func(t *testing.T) {
			c, n, first, second := renewing(t)
			old := n.read("identity/key.pem")
			second.End(end)
			works(t, c, first, 1)
			works(t, c, first, 2)
			if n.has("identity/key.next") || n.has("identity/cert.next") || n.read("identity/key.pem") != old {
				t.Error("the refused certificate is still on trial, or in use")
			}
		})
	}
}

// TestTheControllerMayEndTheOldSessionFirst: it sees that the newer one is of
// the same process before it welcomes it.
func TestTheControllerMayEndTheOldSessionFirst(t *testing.T) {
	c, _, first, second := renewing(t)
	first.End(replacedError())
	first.Over(t)
	quiet, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c.NoSession(t, quiet.Done())
	second.Welcome(t, 0)
	works(t, c, second, 1)
}

func TestATrialThatTakesBothSessionsDownIsOverSoon(t *testing.T) {
	for name, end := range map[string]func(c *agentrttest.Controller, first, second *agentrttest.Session){
		"replaced, then nothing": func(_ *agentrttest.Controller, first, second *agentrttest.Session) {
			first.End(replacedError())
			second.End(errors.New("no"))
		},
		"the old one ended otherwise": func(_ *agentrttest.Controller, first, _ *agentrttest.Session) { first.End(nil) },
		"a cut":                       func(c *agentrttest.Controller, _, _ *agentrttest.Session) { c.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			c, _, first, second := renewing(t)
			end(c, first, second)
			third := c.Welcome(t) // long before a welcome that does not come, or a clone, would be given up
			third.Assign(t, set(1, deployment("shop", 1)))
			third.AwaitPhase(t, "id-shop", 1, successful)
		})
	}
}

// TestARenewalSurvivesARestart: the process ended between the renewal and its
// proof.
func TestARenewalSurvivesARestart(t *testing.T) {
	c := agentrttest.Start(t)
	c.SetLifetime(-10*time.Hour, time.Hour)
	n := newNode(t, nil)
	c.WriteEnrolment(t, n.dir, "token")
	p := n.start()
	first := c.Accept(t)
	c.SetLifetime(-time.Minute, 10*time.Hour)
	first.Welcome(t, 0)
	second := c.Accept(t)
	p.quit()
	if !n.has("identity/cert.next") {
		t.Fatal("the renewed certificate is not on the disk")
	}
	n.start()
	third := c.Welcome(t)
	third.Ping(t, 1)
	if third.Serial != second.Serial || n.has("identity/cert.next") {
		t.Errorf("came back with %s, the renewed one is %s", third.Serial, second.Serial)
	}
}
