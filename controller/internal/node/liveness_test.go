package node_test

import (
	"testing"
	"time"

	"fairlead.dev/controller/internal/node"
)

func TestLiveness(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	cases := map[string]struct {
		agent  node.Agent
		want   node.Liveness
		since  time.Time
		status string
	}{
		"never there":  {node.Agent{}, node.Left, time.Time{}, "unreachable"},
		"connected":    {node.Agent{Connected: true, ConnectedAt: ago(time.Hour)}, node.Connected, ago(time.Hour), "connected"},
		"reconnected":  {node.Agent{Connected: true, ConnectedAt: ago(time.Minute), DisconnectedAt: ago(time.Hour)}, node.Connected, ago(time.Minute), "connected"},
		"just gone":    {node.Agent{ConnectedAt: ago(time.Hour), DisconnectedAt: ago(node.StaleFor - time.Second)}, node.Stale, ago(node.StaleFor - time.Second), "unreachable"},
		"long gone":    {node.Agent{ConnectedAt: ago(time.Hour), DisconnectedAt: ago(node.StaleFor)}, node.Lost, ago(node.StaleFor), "unreachable"},
		"said goodbye": {node.Agent{ConnectedAt: ago(time.Hour), DisconnectedAt: ago(time.Second), SaidGoodbye: true}, node.Left, ago(time.Second), "unreachable"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, since := c.agent.Liveness(now)
			if got != c.want || !since.Equal(c.since) || c.agent.Status(now) != c.status {
				t.Errorf("got %s since %v, %s; want %s since %v, %s", got, since, c.agent.Status(now), c.want, c.since, c.status)
			}
		})
	}
}
