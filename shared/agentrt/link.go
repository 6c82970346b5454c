package agentrt

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/bulk"
	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

// resetAfter is how long a session must have been healthy for the back-off to
// begin anew, unless the controller says otherwise.
const resetAfter = time.Minute

func defaultBackoff() backoff.Policy {
	return backoff.Policy{Base: 500 * time.Millisecond, Cap: time.Minute}
}

// errLeft ends a session that the agent left by its own will.
var errLeft = errors.New("left")

// link keeps the agent connected: one session after another.
type link struct {
	agent    *Agent
	dir      *state.Dir
	identity state.Identity
	held     *assignments
	outbox   *outbox.Outbox
	commands *command.Executor
	streams  *bulk.Client
	updates  *updater
	pauses   *backoff.Backoff
	// displaced counts how often in a row somebody else with this identity
	// was preferred.
	displaced int
	log       *slog.Logger
	// sealingKey is told to the controller.
	sealingKey string

	// resetAfter is how long a session must be healthy to reset the back-off.
	resetAfter time.Duration
	// triedCandidate is whether the last attempt used the certificate on
	// trial; attempts alternate until one of the two is welcomed.
	triedCandidate bool
	// ownSince is when this process got the certificate in use, by its own
	// clock; zero for one that was on the disk.
	ownSince time.Time
	// renewNotBefore holds back renewal after a candidate that failed.
	renewNotBefore time.Time
	// unhealthy is whether the health file could not be written the last time.
	unhealthy bool
	// quarantine is why the agent is in quarantine; empty when it is not.
	quarantine string
}

func newLink(a *Agent, dir *state.Dir, id state.Identity, held *assignments, box *outbox.Outbox, commands *command.Executor, streams *bulk.Client) *link {
	return &link{
		agent: a, dir: dir, identity: id, held: held, outbox: box, commands: commands, streams: streams,
		pauses: backoff.New(defaultBackoff(), a.config.Random),
		log:    a.config.Log.With("agent", id.AgentID, "controller", id.Controller),

		resetAfter: resetAfter,
	}
}

// run connects until it is asked to leave, or revoked.
func (l *link) run(leave context.Context) error {
	var next *session // goes on in place of the one that ended
	for {
		s, err := next, error(nil)
		if s == nil {
			s, err = l.connect(leave)
		}
		next = nil
		if err == nil {
			err = s.serve(leave)
			l.settle(s)
			next = s.next
		}
		if next != nil {
			l.log.Info("going on with the renewed certificate")
			continue
		}
		if over, err := l.rest(leave, err); over {
			return err
		}
	}
}

// rest pauses after the end of a session, or an attempt at one. It reports
// whether the link is over.
func (l *link) rest(leave context.Context, ended error) (over bool, err error) {
	if err := l.dir.SetHealthyUntil(time.Time{}); err != nil {
		l.log.Warn("the health file cannot be removed", logging.KeyError, err)
	}
	select {
	case <-leave.Done():
		return true, nil
	default:
	}
	l.trouble(ended)
	pause, err := l.judge(ended)
	if err != nil {
		return true, err
	}
	return !backoff.Sleep(leave, pause), nil
}

// trouble leaves word for who looks for the cause on the node; nil says that
// all is well.
func (l *link) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if err := l.dir.SetTrouble(l.agent.config.Now(), text); err != nil {
		l.log.Warn("the cause of the trouble cannot be written down", logging.KeyError, err)
	}
}

// settle looks back at a session: only one that was healthy for long enough
// makes the back-off begin anew.
func (l *link) settle(s *session) {
	healthy := s.healthyFor()
	if healthy >= l.resetAfter {
		l.pauses.Reset()
	}
	if healthy >= undisputed {
		l.displaced = 0
	}
}

// connect makes a connection and opens a session on it.
//
// Whether the agent's certificate is still good is the controller's to say:
// this machine's clock may be wrong. Only when the controller does not accept
// it, another one is asked for.
func (l *link) connect(leave context.Context) (*session, error) {
	own, onTrial := l.certificate()
	s, err := l.open(leave, own, onTrial)
	if err == nil || onTrial || !l.rejected(own, err) {
		return s, understand(err)
	}
	if own, onTrial, err = l.recover(leave, own); err != nil {
		return nil, understand(err)
	}
	s, err = l.open(leave, own, onTrial)
	return s, understand(err)
}

// open opens a session with the certificate on a connection of its own.
func (l *link) open(leave context.Context, own tls.Certificate, onTrial bool) (*session, error) {
	s, err := l.dial(leave, own, onTrial)
	if err != nil {
		return nil, err
	}
	if err := s.open(leave); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (l *link) dial(leave context.Context, own tls.Certificate, onTrial bool) (*session, error) {
	conn, err := l.agent.dial(l.identity.Controller, pki.AgentTLS(l.identity.Trust, own, l.agent.config.Now))
	if err != nil {
		return nil, err
	}
	return newSession(leave, l, conn, own, onTrial), nil
}

// certificate chooses what to connect with: the certificate on trial and the
// proven one in turn.
func (l *link) certificate() (own tls.Certificate, onTrial bool) {
	candidate, ok, err := l.dir.Candidate()
	if err != nil {
		l.log.Warn("the renewed certificate cannot be read and is dropped", logging.KeyError, err)
		l.discard()
	}
	l.triedCandidate = ok && !l.triedCandidate
	if l.triedCandidate {
		return candidate, true
	}
	return l.identity.Own, false
}

// welcomed ends the trial: the certificate that was welcomed is the one kept. A
// disk that takes nothing is no reason not to serve; what is not kept there is
// asked for again after a restart.
func (l *link) welcomed(own tls.Certificate, onTrial bool) {
	if err := l.dir.Accepted(); err != nil {
		l.log.Error("it cannot be noted that the controller accepts this agent: check the state folder", logging.KeyError, err)
	}
	l.trouble(nil)
	if onTrial {
		if err := l.dir.Promote(); err != nil {
			l.log.Error("the renewed certificate cannot be put in the old one's place: check the state folder", logging.KeyError, err)
		}
		l.identity.Own = own
		l.ownSince = l.agent.config.Now()
		l.renewNotBefore = l.ownSince.Add(renewRetry) // whatever its dates say
		l.log.Info("the renewed certificate is in use", "until", own.Leaf.NotAfter)
		return
	}
	if _, ok, _ := l.dir.Candidate(); ok {
		l.dropCandidate(own)
	}
}

// dropCandidate ends a trial that failed.
func (l *link) dropCandidate(own tls.Certificate) {
	l.log.Warn("no session came about with the renewed certificate; it is dropped and another will be asked for")
	now := l.agent.config.Now()
	l.renewNotBefore = now.Add(max(renewRetry, own.Leaf.NotAfter.Sub(now)/4))
	l.discard()
}

func (l *link) discard() {
	if err := l.dir.Discard(); err != nil {
		l.log.Error("a certificate that is of no use cannot be removed: check the state folder", logging.KeyError, err)
	}
}
