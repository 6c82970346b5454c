package agent

import (
	"context"
	"crypto/ecdsa"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/groupcommit"
	"fairlead.dev/shared/apperr"
)

// Session is one open connection of an agent. Its epoch goes into every write.
type Session struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	Epoch   int64
	// StatusSequence is the newest report of this boot that is committed.
	StatusSequence uint64
	// SpoolID and FactSequence are the newest fact that is committed, and the
	// spool it is numbered in.
	SpoolID      string
	FactSequence uint64
	// SealingKey is what secrets for its node are sealed to, as far as known.
	SealingKey string
	// Quarantine is why the agent is sent nothing; "" when it is.
	Quarantine string
}

// OpenCommand asks for a session.
type OpenCommand struct {
	AgentID uuid.UUID
	// Key is the one of the certificate that the agent came with.
	Key          *ecdsa.PublicKey
	BootID       string
	Capabilities []string
	Info         Info
}

// Opening is a session to be opened, as the store takes it.
type Opening struct {
	AgentID      uuid.UUID
	ReplicaID    uuid.UUID
	KeyHash      []byte
	BootID       string
	Capabilities []string
	Info         Info
	At           time.Time
	// Over is the epoch of a session of another boot that may be taken over
	// although it seems alive; 0 for none.
	Over int64
}

// Opened answers an Opening. One of three holds: the session is open (Agent);
// the agent is gone; or a session of another boot is open on a replica that is
// alive (Holder).
type Opened struct {
	Agent  Agent
	Gone   bool
	Holder *Holder
}

// Closing is a session to be closed, as the store takes it.
type Closing struct {
	AgentID uuid.UUID
	Epoch   int64
	// At is when the session ended: when the agent was last heard of, if it
	// fell silent.
	At time.Time
	// Goodbye tells that the agent wanted it so.
	Goodbye bool
	// ExpectedUntil is until when the agent is expected right back.
	ExpectedUntil time.Time
	// Reason is for the node's history.
	Reason string
}

// Ask pings the agent of a session, wherever it is, and reports whether it
// answered in time. An agent that can't be pinged has not.
type Ask func(ctx context.Context, h Holder) bool

const (
	groupMax      = 500
	groupParallel = 2
	groupTimeout  = 20 * time.Second
)

func (s *Service) group() {
	s.opening = groupcommit.New(groupcommit.Config[Opening, Opened]{
		Commit: s.Store.OpenSessions, Key: func(o Opening) string { return string(o.AgentID[:]) },
		Max: groupMax, Parallel: groupParallel, Timeout: groupTimeout,
	})
	s.closing = groupcommit.New(groupcommit.Config[Closing, bool]{
		Commit: s.Store.CloseSessions, Key: func(c Closing) string { return string(c.AgentID[:]) },
		Max: groupMax, Parallel: groupParallel, Timeout: groupTimeout,
	})
}

// Open begins a session of a known agent: the epoch rises, and with it any
// older session loses its right to write. Sessions that open at the same
// moment share a transaction.
//
// While another session of the agent is open, a newer one of the same boot
// takes over at once: the agent dialled again. Of another boot, the older
// session is asked. If it answers, two processes use one identity: the newer is
// refused, and both are flagged; otherwise the newer takes over.
//
// Errors: Forbidden with reason revoked for an agent that is none any more,
// Conflict with reason cloned.
func (s *Service) Open(ctx context.Context, cmd OpenCommand, ask Ask) (Session, error) {
	keyHash, err := hashKey(cmd.Key)
	if err != nil {
		return Session{}, err
	}
	o := Opening{
		AgentID: cmd.AgentID, ReplicaID: s.Replica.ID, KeyHash: keyHash, BootID: cmd.BootID, Info: cmd.Info, At: s.Now(),
		Capabilities: slices.DeleteFunc(slices.Clone(cmd.Capabilities), func(c string) bool { return strings.ContainsAny(c, " \t\n") }),
	}
	for range openAttempts {
		opened, err := s.opening.Do(ctx, o)
		switch {
		case err != nil:
			return Session{}, err
		case opened.Gone:
			return Session{}, revokedOr(nil)
		case opened.Holder == nil:
			a := opened.Agent
			return Session{
				AgentID: a.ID, NodeID: a.NodeID, Epoch: a.Epoch, StatusSequence: a.StatusSequence,
				SpoolID: a.SpoolID, FactSequence: a.FactSequence,
				SealingKey: a.SealingKey, Quarantine: a.Quarantine,
			}, nil
		case ask != nil && ask(ctx, *opened.Holder):
			return Session{}, s.cloned(ctx, *opened.Holder, cmd.Info)
		}
		o.Over = opened.Holder.Epoch
	}
	return Session{}, apperr.New(apperr.Unavailable, "other sessions of this agent open all the time; come back")
}

// openAttempts bounds how often a session that another one overtakes is tried.
const openAttempts = 3

// End is how a session ended.
type End struct {
	// Goodbye: the agent wanted it so.
	Goodbye bool
	// SilentSince is when the agent was last heard of, if the session ended
	// for its silence.
	SilentSince time.Time
	// Handover: the controller ended it, and the agent is to come back.
	Handover bool
}

// Ended is a session that ended, and how.
type Ended struct {
	Session
	End
}

// Close ends a session, unless a newer one took over.
func (s *Service) Close(ctx context.Context, session Session, end End) error {
	_, err := s.closing.Do(ctx, Ended{session, end}.closing(s.Now()))
	return err
}

// CloseAll ends sessions of different agents.
func (s *Service) CloseAll(ctx context.Context, list []Ended) error {
	now := s.Now()
	for chunk := range slices.Chunk(list, groupMax) {
		closings := make([]Closing, len(chunk))
		for i, e := range chunk {
			closings[i] = e.closing(now)
		}
		if _, err := s.Store.CloseSessions(ctx, closings); err != nil {
			return err
		}
	}
	return nil
}

func (e Ended) closing(now time.Time) Closing {
	c := Closing{AgentID: e.AgentID, Epoch: e.Epoch, At: now, Goodbye: e.Goodbye, Reason: "the connection ended"}
	switch {
	case e.Goodbye:
		c.Reason, c.ExpectedUntil = "the agent said good-bye", now
	case !e.SilentSince.IsZero():
		c.Reason, c.ExpectedUntil, c.At = "the agent fell silent", now, e.SilentSince
	case e.Handover:
		c.Reason, c.ExpectedUntil = "the controller ended it", now.Add(HandoverGrace)
	default:
		c.ExpectedUntil = now.Add(ReturnGrace)
	}
	return c
}

// ReturnGrace is how long an agent whose connection broke is expected right
// back.
const ReturnGrace = 15 * time.Second

// Silence tells since when agents of open sessions have not been heard of; the
// zero time for one that is heard again.
type Silence struct {
	AgentID uuid.UUID
	Epoch   int64
	Since   time.Time
}

// NoteSilence writes down which agents are overdue, or are not any more.
func (s *Service) NoteSilence(ctx context.Context, list []Silence) error {
	if len(list) == 0 {
		return nil
	}
	return s.Store.NoteSilence(ctx, list)
}

// Holds returns nil while the session may write: its agent is not revoked and
// has no newer session. Otherwise the error's reason says which it is.
func (s *Service) Holds(ctx context.Context, session Session) error {
	a, err := s.Store.FindAgent(ctx, session.AgentID)
	if err != nil || !a.RevokedAt.IsZero() {
		return revokedOr(err)
	}
	if a.Epoch != session.Epoch {
		return replaced()
	}
	return nil
}

// Within does in one transaction what a session wants written that does not
// name the epoch itself, while the session may write; otherwise its error is as
// that of Holds, and nothing is done.
func (s *Service) Within(ctx context.Context, session Session, write func(ctx context.Context) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		holds, err := s.Store.LockEpoch(ctx, session.AgentID, session.Epoch)
		if err != nil {
			return err
		}
		if !holds {
			return s.mustHold(ctx, session)
		}
		return write(ctx)
	})
}

// mustHold returns why a write of the session found nothing to write to.
func (s *Service) mustHold(ctx context.Context, session Session) error {
	if err := s.Holds(ctx, session); err != nil {
		return err
	}
	return replaced()
}

func replaced() error {
	return apperr.New(apperr.Precondition, "a newer session of this agent has taken over").WithReason(ReasonReplaced)
}
