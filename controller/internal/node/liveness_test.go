package node_test

import (
	"testing"
	"time"

	"fairlead.dev/controller/internal/node"
)

func TestLiveness(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	hour, second := ago(time.Hour), ago(time.Second)
	cases := map[string]struct {
		agent  node.Agent
		want   node.Liveness
		since  time.Time
		status string
	}{
		"never there": {node.Agent{}, node.Left, time.Time{}, "unreachable"},
		"connected":   {node.Agent{Connected: true, ConnectedAt: hour}, node.Connected, hour, "connected"},
		"reconnected": {node.Agent{Connected: true, ConnectedAt: ago(time.Minute), DisconnectedAt: hour}, node.Connected, ago(time.Minute), "connected"},
		"overdue": {node.Agent{Connected: true, ConnectedAt: hour, SilentSince: ago(node.LostAfter - time.Second)},
			node.Stale, ago(node.LostAfter - time.Second), "unreachable"},
		"silent": {node.Agent{Connected: true, ConnectedAt: hour, SilentSince: ago(node.LostAfter)}, node.Lost, ago(node.LostAfter), "unreachable"},
		"just gone": {node.Agent{ConnectedAt: hour, DisconnectedAt: second, ExpectedUntil: now.Add(time.Second)},
			node.Stale, second, "unreachable"},
		"expected in vain": {node.Agent{ConnectedAt: hour, DisconnectedAt: second, ExpectedUntil: now}, node.Lost, second, "unreachable"},
		"gone":             {node.Agent{ConnectedAt: hour, DisconnectedAt: second}, node.Lost, second, "unreachable"},
		"said goodbye":     {node.Agent{ConnectedAt: hour, DisconnectedAt: second, SaidGoodbye: true}, node.Left, second, "unreachable"},
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
