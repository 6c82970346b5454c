package agentrt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const (
	// slowRetry is the pause where trying soon would not help.
	slowRetry = time.Minute
	// resetAfter is how long a session must have been healthy for the
	// back-off to begin anew, unless the controller says otherwise.
	resetAfter = time.Minute
)

func defaultBackoff() backoff.Policy {
	return backoff.Policy{Base: 500 * time.Millisecond, Cap: time.Minute}
}

var (
	// errRenewed ends a session whose agent has a new certificate to try.
	errRenewed = errors.New("the certificate was renewed")
	// errLeft ends a session that the agent left by its own will.
	errLeft = errors.New("left")
)

// comeBack ends a session because the controller asked for it.
type comeBack struct {
	after  time.Duration
	reason string
}

func (c *comeBack) Error() string { return "the controller asked to come back: " + c.reason }

// link keeps the agent connected: one session after another.
type link struct {
	agent    *Agent
	dir      *state.Dir
	identity state.Identity
	held     *assignments
	outbox   *outbox.Outbox
	commands *command.Executor
	pauses   *backoff.Backoff
	log      *slog.Logger

	// resetAfter is how long a session must be healthy to reset the back-off.
	resetAfter time.Duration
	// triedCandidate is whether the last attempt used the certificate on
	// trial; attempts alternate until one of the two is welcomed.
	triedCandidate bool
	// renewNotBefore holds back renewal after a candidate that failed.
	renewNotBefore time.Time
	// quarantine is why the agent is in quarantine; empty when it is not.
	quarantine string
}

func newLink(a *Agent, dir *state.Dir, id state.Identity, held *assignments, box *outbox.Outbox, commands *command.Executor) *link {
	return &link{
		agent: a, dir: dir, identity: id, held: held, outbox: box, commands: commands,
		pauses: backoff.New(defaultBackoff(), a.config.Random),
		log:    a.config.Log.With("agent", id.AgentID, "controller", id.Controller),

		resetAfter: resetAfter,
	}
}

// run connects until it is asked to leave, or revoked.
func (l *link) run(leave context.Context) error {
	for {
		ended := l.connect(leave)
		if err := l.dir.SetHealthyUntil(time.Time{}); err != nil {
			l.log.Warn("the health file cannot be removed", logging.KeyError, err)
		}
		select {
		case <-leave.Done():
			return nil
		default:
		}
		pause, err := l.judge(ended)
		if err != nil {
			return err
		}
		if !backoff.Sleep(leave, pause) {
			return nil
		}
	}
}

// connect makes a connection and serves one session on it.
func (l *link) connect(leave context.Context) (err error) {
	own, onTrial, err := l.certificate()
	if err != nil {
		return err
	}
	if l.agent.config.Now().After(own.Leaf.NotAfter) {
		if own, err = l.recover(leave, own); err != nil {
			return understand(err)
		}
		onTrial = true
	}
	conn, err := dial(l.identity.Controller, pki.AgentTLS(l.identity.Trust, own, l.agent.config.Now))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s := newSession(l, conn, own, onTrial)
	err = understand(s.run(leave))
	if s.healthyFor() >= l.resetAfter {
		l.pauses.Reset()
	}
	return err
}

// certificate chooses what to connect with: the certificate on trial and the
// proven one in turn.
func (l *link) certificate() (own tls.Certificate, onTrial bool, err error) {
	candidate, ok, err := l.dir.Candidate()
	if err != nil {
		l.log.Warn("the renewed certificate cannot be read and is dropped", logging.KeyError, err)
		ok = false
		if err := l.dir.Discard(); err != nil {
			return own, false, err
		}
	}
	l.triedCandidate = ok && !l.triedCandidate
	if l.triedCandidate {
		return candidate, true, nil
	}
	return l.identity.Own, false, nil
}

// welcomed ends the trial: the certificate that was welcomed is the one kept.
func (l *link) welcomed(own tls.Certificate, onTrial bool) error {
	if err := l.dir.Accepted(); err != nil {
		return err
	}
	if onTrial {
		if err := l.dir.Promote(); err != nil {
			return err
		}
		l.identity.Own = own
		l.renewNotBefore = l.agent.config.Now().Add(renewRetry) // whatever its dates say
		l.log.Info("the renewed certificate is in use", "until", own.Leaf.NotAfter)
		return nil
	}
	if _, ok, _ := l.dir.Candidate(); ok {
		l.log.Warn("no session came about with the renewed certificate; it is dropped and another will be asked for")
		now := l.agent.config.Now()
		l.renewNotBefore = now.Add(own.Leaf.NotAfter.Sub(now) / 4)
		return l.dir.Discard()
	}
	return nil
}

// judge decides from the end of a session how long to pause before the next;
// an error ends the link for good.
func (l *link) judge(err error) (time.Duration, error) {
	if errors.Is(err, errRenewed) {
		l.log.Info("reconnecting with the renewed certificate")
		return 0, nil
	}
	var asked *comeBack
	var refused *refusal
	pause := l.pauses.Next()
	switch {
	case errors.As(err, &asked):
		pause += asked.after
	case errors.As(err, &refused):
		switch refused.reason {
		case agentv1.RefusalReason_REFUSAL_REASON_REVOKED:
			return 0, l.revoked(refused)
		case agentv1.RefusalReason_REFUSAL_REASON_REPLACED:
			l.log.Error("another process serves with this agent's identity: if it is a copy of this machine, run the install script here anew")
			pause = slowRetry/2 + time.Duration(l.agent.config.Random()*float64(slowRetry/2))
		case agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL:
			l.log.Error("agent and controller have no protocol version in common: update the older of them")
			pause = slowRetry
		default:
			pause += refused.retryAfter
		}
	}
	l.log.Warn("disconnected", logging.KeyError, err, "pause", pause)
	return pause, nil
}

// revoked leaves the containers alone and remembers never to come back.
func (l *link) revoked(why *refusal) error {
	l.log.Error("this agent was revoked or its node deleted: it stops for good and leaves its containers running", logging.KeyError, why)
	if err := l.dir.SetRevoked(why.Error()); err != nil {
		l.log.Error("the revocation cannot be remembered", logging.KeyError, err)
	}
	return fmt.Errorf("%w: %s", ErrRevoked, why.Error())
}

// setQuarantine notes whether the controller keeps the agent in quarantine, and
// says so when that changes.
func (l *link) setQuarantine(why string) {
	switch {
	case why == l.quarantine:
	case why == "":
		l.log.Info("this agent is out of quarantine")
	default:
		l.log.Error("this agent is in quarantine: its containers run on and are reported, but nothing is deployed and no command is carried out until somebody releases it in the controller", "reason", why)
	}
	l.quarantine = why
}
