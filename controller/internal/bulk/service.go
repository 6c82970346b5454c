package bulk

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// Owner is where a node's session is.
type Owner struct {
	NodeID    uuid.UUID
	AgentID   uuid.UUID
	Epoch     int64
	Connected bool
	// Replica names the controller that has the session, Address is what its
	// peers dial; both empty when it is not known.
	Replica string
	Address string
}

// Store finds what streams need to know; it joins the transaction in ctx.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// FindOwner finds where the session of a team's node is; NotFound when the
	// team has no such node.
	FindOwner(ctx context.Context, teamID, nodeID uuid.UUID) (Owner, error)
	// FindAgentPlace returns the node and the team that an agent serves.
	FindAgentPlace(ctx context.Context, agentID uuid.UUID) (nodeID, teamID uuid.UUID, err error)
	// FindReplicaAddress returns what the peers of a replica dial; NotFound when
	// there is none of that id, or its lease has run out.
	FindReplicaAddress(ctx context.Context, id string) (string, error)
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
}

// Peers opens streams of sessions that other replicas have.
type Peers interface {
	// Open is Broker.Open at another replica. The stream ends with ctx.
	Open(ctx context.Context, o Owner, r Request) (Stream, error)
	// Join is Broker.Join at the replica of that address.
	Join(ctx context.Context, address string, agentID uuid.UUID, streamID string) (Bearer, error)
}

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Store  Store
	Broker *Broker
	// Peers may be nil where there are no others.
	Peers  Peers
	Audit  *audit.Log
	Limits Limits
	Now    func() time.Time
}

// Service opens streams for members of teams.
type Service struct {
	ServiceConfig
	slots slots

	mu sync.Mutex
	// misused is when an agent's misuse was last entered.
	misused map[uuid.UUID]time.Time
}

// NewService returns the service.
func NewService(c ServiceConfig) *Service {
	return &Service{ServiceConfig: c, slots: newSlots(c.Limits), misused: map[uuid.UUID]time.Time{}}
}

// Action is the permission that a request takes.
func (r Request) Action() authz.Action {
	if r.Exec != nil {
		return authz.ContainerExec
	}
	return authz.ContainerRead
}

// Open opens a stream of a container of one of the team's nodes, wherever the
// node's session is. It ends with ctx, when the caller closes it, with the
// node's session, or when the controller stops. That a command is run is in
// the audit log before it is. Errors: NotFound for a node that is not the
// team's, Precondition when it is unreachable, those of Broker.Open, Invalid.
func (s *Service) Open(ctx context.Context, nodeID uuid.UUID, r Request) (Stream, error) {
	team, _, err := authz.Require(ctx, r.Action())
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := s.slots.take(team.ID); err != nil {
		return nil, err
	}
	stream, err := s.open(ctx, team.ID, nodeID, r)
	if err != nil {
		s.slots.give(team.ID)
		return nil, err
	}
	return s.slots.hold(team.ID, stream)
}

// Check fails as Open would because of who asks or of the node, without asking
// the node.
func (s *Service) Check(ctx context.Context, nodeID uuid.UUID, action authz.Action) error {
	team, _, err := authz.Require(ctx, action)
	if err != nil {
		return err
	}
	_, err = s.locate(ctx, team.ID, nodeID)
	return err
}

func (s *Service) open(ctx context.Context, teamID, nodeID uuid.UUID, r Request) (Stream, error) {
	owner, err := s.locate(ctx, teamID, nodeID)
	if err != nil {
		return nil, err
	}
	if r.Exec != nil {
		if err := s.note(ctx, nodeID, r); err != nil {
			return nil, err
		}
	}
	stream, err := s.at(ctx, owner, r)
	if !isElsewhere(err) {
		return stream, err
	}
	// The session may have moved between the look and the call: look once more.
	if owner, err = s.locate(ctx, teamID, nodeID); err != nil {
		return nil, err
	}
	if stream, err = s.at(ctx, owner, r); reasonOf(err) == ReasonNotHere {
		return nil, apperr.New(apperr.Unavailable, "the node is changing its connection; try again in a moment").WithReason(ReasonSessionEnded)
	}
	return stream, err
}

// Join makes an agent the carrier of a stream it was asked for; who it is must
// be proven. Its connection may have arrived at another replica than the one
// that asked: then what it carries is passed on. NotFound as for Broker.Join.
func (s *Service) Join(ctx context.Context, agentID uuid.UUID, streamID string) (Bearer, error) {
	replica := ReplicaOf(streamID)
	if replica == "" || replica == s.Broker.replica || s.Peers == nil {
		return s.Broker.Join(ctx, agentID, streamID)
	}
	address, err := s.Store.FindReplicaAddress(ctx, replica)
	if apperr.Is(err, apperr.NotFound) {
		return s.Broker.Join(ctx, agentID, streamID) // which refuses it
	}
	if err != nil {
		return nil, err
	}
	return s.Peers.Join(ctx, address, agentID, streamID)
}

func (s *Service) locate(ctx context.Context, teamID, nodeID uuid.UUID) (Owner, error) {
	o, err := s.Store.FindOwner(ctx, teamID, nodeID)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return Owner{}, apperr.New(apperr.NotFound, "no such node").WithField("nodeId", nodeID)
	case err != nil:
		return Owner{}, err
	case !o.Connected:
		return Owner{}, apperr.New(apperr.Precondition, "the node is unreachable").WithField("nodeId", nodeID)
	}
	return o, nil
}

func (s *Service) at(ctx context.Context, o Owner, r Request) (Stream, error) {
	if s.Broker.Holds(o.AgentID, o.Epoch) || s.Peers == nil || o.Address == "" {
		return s.Broker.Open(ctx, o.AgentID, o.Epoch, r)
	}
	return s.Peers.Open(ctx, o, r)
}

func (s *Service) note(ctx context.Context, nodeID uuid.UUID, r Request) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		data := map[string]any{
			"operation": "execContainer", "container": r.Container.Name, "prefix": r.Container.Prefix, "command": r.Exec.Command,
		}
		if err := s.Store.AppendNodeEvent(ctx, nodeID, "containerCommand", data, s.Now()); err != nil {
			return err
		}
		data["node"] = nodeID
		return s.Audit.Record(ctx, authz.ContainerExec, data)
	})
}

// Interrupt ends every stream with a last word, and lets no new one in: the
// controller stops.
func (s *Service) Interrupt() {
	cause := apperr.New(apperr.Unavailable, "the controller is stopping; come back").WithReason(ReasonStopping)
	s.slots.interrupt(cause)
	s.Broker.Interrupt(cause)
}

// Idle waits until the readers have closed their streams, or ctx ends.
func (s *Service) Idle(ctx context.Context) { s.slots.idle(ctx) }

// misuseEvery is how often the misuse of one agent is entered, maxMisused how
// many agents are remembered for that.
const (
	misuseEvery = time.Minute
	maxMisused  = 1000
)

// NoteMisuse enters into the audit log of its team that an agent came with a
// stream id it was not given; of each agent at most one a minute.
func (s *Service) NoteMisuse(ctx context.Context, m Misuse) error {
	if !s.due(m.AgentID) {
		return nil
	}
	nodeID, teamID, err := s.Store.FindAgentPlace(ctx, m.AgentID)
	if err != nil {
		return err
	}
	data := map[string]any{"agent": m.AgentID, "node": nodeID, "foreign": m.Foreign}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.AppendNodeEvent(ctx, nodeID, "streamRefused", map[string]any{"foreign": m.Foreign}, s.Now()); err != nil {
			return err
		}
		return s.Audit.Record(actor.WithTeam(ctx, actor.Team{ID: teamID}), authz.AgentStreamRefused, data)
	})
}

func (s *Service) due(agentID uuid.UUID) bool {
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, noted := s.misused[agentID]; noted && now.Sub(last) < misuseEvery {
		return false
	}
	if len(s.misused) >= maxMisused {
		clear(s.misused)
	}
	s.misused[agentID] = now
	return true
}

func isElsewhere(err error) bool {
	reason := reasonOf(err)
	return reason == ReasonNotHere || reason == ReasonPeerAway
}
