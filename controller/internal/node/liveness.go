package node

import "time"

// Liveness says how much of a node's agent can be seen.
type Liveness string

// The four words of liveness. All but Connected show as "unreachable" in the
// team API.
const (
	// Connected: its session is open.
	Connected Liveness = "connected"
	// Stale: its session ended a moment ago; it is expected right back.
	Stale Liveness = "stale"
	// Lost: it has been away longer than that, without a word.
	Lost Liveness = "lost"
	// Left: it said good-bye, was never there, or was revoked.
	Left Liveness = "left"
)

// StaleFor is how long an agent that vanished is expected right back: long
// enough for a restart of the agent or of the controller.
const StaleFor = 20 * time.Second

// Liveness returns the word for the agent at a moment, and since when it holds;
// the zero time when the agent was never there. Every view uses this function.
func (a Agent) Liveness(now time.Time) (Liveness, time.Time) {
	switch {
	case a.ConnectedAt.IsZero():
		return Left, time.Time{}
	case a.Connected:
		return Connected, a.ConnectedAt
	case a.SaidGoodbye:
		return Left, a.DisconnectedAt
	case now.Sub(a.DisconnectedAt) < StaleFor:
		return Stale, a.DisconnectedAt
	default:
		return Lost, a.DisconnectedAt
	}
}

// Status returns the team API's word: connected or unreachable.
func (a Agent) Status(now time.Time) string {
	if live, _ := a.Liveness(now); live == Connected {
		return "connected"
	}
	return "unreachable"
}
