package fleetsim

import (
	"context"
	"errors"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

const (
	backoffBase  = 500 * time.Millisecond
	backoffCap   = time.Minute
	backoffReset = time.Minute
	slowRetry    = time.Minute
	maxRetry     = 10 * time.Minute

	// After this many pauses the sum of all is at least a part of the sum of
	// their ceilings.
	freePauses = 3
	floorPart  = 4
)

// pauses spaces an agent's attempts as package agentrt does, whose own code for
// it is closed: full jitter below a ceiling that doubles, with a floor under
// the sum.
type pauses struct {
	agent                *Agent
	base, limit, reset   time.Duration
	attempts, taken      int
	paused, sum, ceiling time.Duration
	displaced            int
}

func newPauses(a *Agent) *pauses {
	return &pauses{agent: a, base: backoffBase, limit: backoffCap, reset: backoffReset}
}

// adopt takes the controller's numbers.
func (p *pauses) adopt(b *agentv1.Backoff) {
	p.base, p.limit, p.reset = orElse(b.GetBaseMs(), p.base), orElse(b.GetCapMs(), p.limit), orElse(b.GetResetAfterMs(), p.reset)
}

// healthy begins at the base again, when the session was healthy for long
// enough.
func (p *pauses) healthy(d time.Duration) {
	if d >= p.reset {
		p.attempts, p.taken, p.paused, p.sum, p.displaced = 0, 0, 0, 0, 0
	}
}

// step counts an attempt and returns what the pause must be at least.
func (p *pauses) step() (least time.Duration) {
	p.ceiling = p.base
	for range p.attempts {
		p.ceiling = min(2*p.ceiling, p.limit)
	}
	if p.ceiling < p.limit {
		p.attempts++
	}
	p.taken++
	p.sum += p.ceiling
	if p.taken > freePauses {
		least = min(max(0, p.sum/floorPart-p.paused), p.ceiling)
	}
	return least
}

// next is the pause after an attempt or session that ended so; false when the
// agent must not come back.
func (p *pauses) next(ended error) (time.Duration, bool) {
	var asked time.Duration
	var end *endError
	if errors.As(ended, &end) {
		asked = end.after
	}
	if r := refusalOf(ended); r != nil {
		asked = min(time.Duration(r.GetRetryAfterMs())*time.Millisecond, maxRetry)
		switch r.GetReason() {
		case agentv1.RefusalReason_REFUSAL_REASON_REVOKED:
			return 0, false
		case agentv1.RefusalReason_REFUSAL_REASON_REPLACED, agentv1.RefusalReason_REFUSAL_REASON_CLONED:
			wait := slowRetry << min(p.displaced, 5)
			p.displaced++
			return max(asked, wait/2+p.agent.part(wait/2)), true
		case agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL:
			return max(asked, slowRetry/2+p.agent.part(slowRetry/2)), true
		default: // come back
		}
	}
	least := p.step()
	pause := least + p.agent.part(p.ceiling-least)
	if asked > 0 {
		pause = max(asked, least) + p.agent.part(max(asked/4, p.base))
	}
	p.paused += pause
	return pause, true
}

func orElse(ms uint32, d time.Duration) time.Duration {
	if ms == 0 {
		return d
	}
	return time.Duration(ms) * time.Millisecond
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
