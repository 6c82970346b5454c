package agentrt

import (
	"errors"
	"fmt"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/logging"
)

const (
	// slowRetry is the pause where trying soon would not help.
	slowRetry = time.Minute
	// maxDoublings bounds how long an agent stands back from another one with
	// its identity: up to 16 minutes.
	maxDoublings = 4
	// undisputed is how long a session must have been healthy for nobody to
	// dispute it any more.
	undisputed = 20 * time.Minute
	// maxRetryAfter is the longest pause a controller is believed to want.
	maxRetryAfter = 10 * time.Minute
)

// comeBack ends a session because the controller asked for it.
type comeBack struct {
	after  time.Duration
	reason string
}

func (c *comeBack) Error() string { return "the controller asked to come back: " + c.reason }

// judge decides from the end of a session how long to pause before the next;
// an error ends the link for good.
func (l *link) judge(ended error) (time.Duration, error) {
	var asked *comeBack
	var refused *refusal
	var pause time.Duration
	switch {
	case errors.As(ended, &asked):
		pause = l.pauses.After(min(asked.after, maxRetryAfter))
	case errors.As(ended, &refused):
		var err error
		if pause, err = l.refused(refused); err != nil {
			return 0, err
		}
	default:
		pause = l.pauses.Next()
	}
	l.log.Warn("disconnected", logging.KeyError, ended, "pause", pause)
	return pause, nil
}

func (l *link) refused(r *refusal) (time.Duration, error) {
	asked := min(r.retryAfter, maxRetryAfter)
	switch r.reason {
	case agentv1.RefusalReason_REFUSAL_REASON_REVOKED:
		if r.deletion != nil {
			return 0, l.deleted(r)
		}
		return 0, l.revoked(r)
	case agentv1.RefusalReason_REFUSAL_REASON_REPLACED:
		l.log.Error("another process took over with this agent's identity; if it runs on a copy of this machine or of the agent's state folder, run the install script on one of the two anew")
		return max(asked, l.standBack()), nil
	case agentv1.RefusalReason_REFUSAL_REASON_CLONED:
		l.log.Error("another process with this agent's identity is connected and answers: this machine or the agent's state folder was copied. " +
			"The containers here run on, but nothing can be deployed here: create an install script for a new node and run it on this machine, or stop this agent")
		return max(asked, l.standBack()), nil
	case agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL:
		l.log.Error("agent and controller have no protocol version in common: update the older of them")
		return max(asked, l.spread(slowRetry)), nil
	default:
		if asked > 0 {
			return l.pauses.After(asked), nil
		}
		return l.pauses.Next(), nil
	}
}

// standBack is the pause after somebody else with this identity was preferred.
// It grows, so that two who can only replace each other do not do so for ever.
func (l *link) standBack() time.Duration {
	pause := l.spread(slowRetry << min(l.displaced, maxDoublings))
	l.displaced++
	return pause
}

// spread returns anything from half of the pause to all of it.
func (l *link) spread(pause time.Duration) time.Duration {
	return pause/2 + time.Duration(l.agent.config.Random()*float64(pause/2))
}

// revoked leaves the containers alone and remembers never to come back.
func (l *link) revoked(why *refusal) error {
	l.log.Error("this agent was revoked: it stops for good and leaves its containers running", logging.KeyError, why)
	if err := l.dir.SetRevoked(why.Error()); err != nil {
		l.log.Error("the revocation cannot be remembered", logging.KeyError, err)
	}
	return fmt.Errorf("%w: %s", ErrRevoked, why.Error())
}
