package agent

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const (
	// LeaseFor is how long a replica that says nothing more counts as there.
	LeaseFor = 15 * time.Second
	// RenewEvery is how often it says so.
	RenewEvery = 5 * time.Second
	// HandoverGrace is how long agents whose controller went away are
	// expected right back: the longest pause of their back-off, and some time
	// for all of them to get in. Before that nobody is called lost.
	HandoverGrace = 90 * time.Second
)

// Replica is one controller process.
type Replica struct {
	// ID is made anew with each start.
	ID uuid.UUID
	// Name is the same for each process that takes the place of the one
	// before; no two that run at the same time may have the same.
	Name string
	// Address is where other replicas reach it.
	Address   string
	StartedAt time.Time
}

// Register enters this replica among the controllers. Sessions of earlier
// processes of the same name, and of replicas that are gone, are closed.
func (s *Service) Register(ctx context.Context) error {
	now := s.Now()
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.PutReplica(ctx, s.Replica, LeaseFor); err != nil {
			return err
		}
		_, err := s.Store.CloseOrphans(ctx, now, now.Add(HandoverGrace))
		return err
	})
}

// Lease is how long a replica that says nothing more counts as there.
type Lease struct {
	ReplicaID uuid.UUID
	For       time.Duration
}

// ChangesAndLease is Changes in a statement that also keeps the replica's
// lease; the sessions of replicas whose own has run out are closed. The changes'
// Kept is false when this one's had run out too: it is registered anew, but
// others may have closed its sessions, which are to be claimed again.
func (s *Service) ChangesAndLease(ctx context.Context, since uint64) (Changes, error) {
	changes, err := s.Store.ListChanges(ctx, since, &Lease{ReplicaID: s.Replica.ID, For: LeaseFor})
	switch {
	case err != nil:
		return Changes{}, err
	case !changes.Kept:
		err = s.Register(ctx)
	case changes.Dropped:
		now := s.Now()
		_, err = s.Store.CloseOrphans(ctx, now, now.Add(HandoverGrace))
	}
	return changes, err
}

// Claim marks open sessions of this replica as such again, those that still
// hold.
func (s *Service) Claim(ctx context.Context, sessions []Session) error {
	for len(sessions) > 0 {
		n := min(len(sessions), claimBatch)
		if err := s.Store.ClaimSessions(ctx, s.Replica.ID, sessions[:n]); err != nil {
			return err
		}
		sessions = sessions[n:]
	}
	return nil
}

const claimBatch = 1000

// Resign takes the replica out of the list at its end; agents that were still
// connected to it are expected back.
func (s *Service) Resign(ctx context.Context) error {
	now := s.Now()
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.DeleteReplica(ctx, s.Replica.ID); err != nil {
			return err
		}
		_, err := s.Store.CloseOrphans(ctx, now, now.Add(HandoverGrace))
		return err
	})
}

// Holder is the session that an agent has, and the replica that holds it.
type Holder struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	Epoch   int64
	BootID  string
	// ReplicaID and ReplicaAddress say where the session is.
	ReplicaID      uuid.UUID
	ReplicaAddress string
	// AgentAddress is where the agent connects from.
	AgentAddress string
	Capabilities []string
}

// Holder returns the open session of a node's agent. NotFound when there is
// none, or none on a replica that is alive.
func (s *Service) Holder(ctx context.Context, nodeID uuid.UUID) (Holder, error) {
	return s.Store.FindHolder(ctx, nodeID)
}

// IsMine reports whether this replica holds the session.
func (s *Service) IsMine(h Holder) bool { return h.ReplicaID == s.Replica.ID }
