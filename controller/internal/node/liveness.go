package node

import "time"

// Liveness says how much of a node's agent can be seen.
type Liveness string

// The four words of liveness. All but Connected show as "unreachable" in the
// team API.
const (
	// Connected: its session is open, and it is heard of.
	Connected Liveness = "connected"
	// Stale: it is overdue, or its session ended a moment ago; it is expected
	// right back.
	Stale Liveness = "stale"
	// Lost: it has been away longer than that, without a word.
	Lost Liveness = "lost"
	// Left: it said good-bye, was never there, or was revoked.
	Left Liveness = "left"
)

// An agent says something every HeartbeatPeriod. It is called stale after two
// messages in a row did not come, and lost a few seconds later: soon enough to
// tell of a dead machine within 20 seconds, late enough for the retransmissions
// of a network that loses every twentieth packet.
const (
	HeartbeatPeriod = 6 * time.Second
	StaleAfter      = 13 * time.Second
	LostAfter       = 18 * time.Second
)

// Liveness returns the word for the agent at a moment, and since when it holds;
// the zero time when the agent was never there. Every view on every controller
// uses this function on what is in the database; only the controller that holds
// the session, or finds its holder gone, writes that.
func (a Agent) Liveness(now time.Time) (Liveness, time.Time) {
	switch {
	case a.ConnectedAt.IsZero():
		return Left, time.Time{}
	case a.Connected && a.SilentSince.IsZero():
		return Connected, a.ConnectedAt
	case a.Connected && now.Sub(a.SilentSince) < LostAfter:
		return Stale, a.SilentSince
	case a.Connected:
		return Lost, a.SilentSince
	case a.SaidGoodbye:
		return Left, a.DisconnectedAt
	case now.Before(a.ExpectedUntil):
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
