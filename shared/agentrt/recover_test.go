package agentrt_test

import (
	"testing"
	"time"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/pki"
)

// later lets two hours pass, past the end of the agent's certificate.
func (n *node) later(t *testing.T, c *agentrttest.Controller) {
	t.Helper()
	n.ahead += 2 * time.Hour // agents' certificates last one here
	c.SetClock(n.ahead)
	certificate, err := c.Authority.Server(time.Now().Add(-pki.Skew), time.Now().Add(30*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c.UseServerCertificate(certificate)
}

func TestAnAgentThatWasAwayTooLongComesBackByItself(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	before := n.containers()
	p.quit()

	for absence := 1; absence <= 2; absence++ {
		n.later(t, c)
		p = n.start()
		c.Welcome(t)
		if got := c.Recovered(); got != absence {
			t.Errorf("absence %d: recovered %d times", absence, got)
		}
		if after := n.containers(); len(after) != 1 || after["shop-web"] != before["shop-web"] {
			t.Errorf("containers were %v, are %v", before, after)
		}
		p.quit()
	}
	// What it was given lasts: coming back at once asks for nothing.
	n.start()
	c.Welcome(t)
	if got := c.Recovered(); got != 2 {
		t.Errorf("recovered %d times, want 2", got)
	}
}
