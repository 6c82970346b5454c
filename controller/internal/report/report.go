// Package report takes what agents tell: the state of their deployments and
// containers, what happened on their nodes, and which assignments they hold.
//
// Everything goes through one Recorder, which writes what many agents told by
// few statements and lets each agent know once that is committed. A report
// counts once: its session's epoch must still be the agent's, and its sequence
// be above the last one committed. A report that says nothing new is not
// written at all; its sequence is then only known in memory, and when that is
// lost the report comes again and says nothing new once more.
package report

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Limits of one transaction and of what waits for one.
const (
	// Gather is how long reports are gathered while others were just written.
	// One that comes after a pause is written at once.
	Gather = 50 * time.Millisecond
	// MaxReports ends the gathering early, and is how much one transaction takes
	// along unless more waits already: then it takes up to maxBacklog, since what
	// is the same for each transaction is shared by more.
	MaxReports = 256
	maxBacklog = 1024
	// maxFolded is how many reports of one session may wait; agents send no
	// more than 8 before the first is acknowledged.
	maxFolded = 16
	// maxWaiting bounds the memory that everything which waits may take, in
	// bytes by a rough count; see Line.Report.
	maxWaiting = 256 << 20
	// retryAfter is how soon a database that was away is tried again.
	retryAfter = time.Second
)

// Retention of what is kept of nodes and commands.
const (
	// MaxFacts is how many facts of a node are kept, the newest.
	MaxFacts = 1000
	// sweepEvery is how often finished commands are looked for, and
	// commandsFor how long they are kept.
	sweepEvery  = 10 * time.Minute
	commandsFor = 24 * time.Hour
)

// Report is one batch of what an agent saw.
type Report struct {
	Sequence uint64
	Statuses []deployment.Status
	Events   []deployment.Event
	// Containers is nil when the report says nothing of them.
	Containers *Containers
	// SpoolID is what Facts are numbered in; they ascend.
	SpoolID string
	Facts   []Fact
}

// Containers is the complete list of what runs on a node.
type Containers struct {
	List []workload.Container
	// EngineError is why the engine does not answer; List is then what was
	// seen last. It is "" when the engine answers.
	EngineError string
}

// Fact is something that happened on a node and can't be seen again.
type Fact struct {
	Sequence     uint64
	At           time.Time
	Container    workload.ContainerID
	EngineID     string
	DeploymentID string
	InstanceID   string
	Release      int64
	// Exit is nil when the fact is that others were lost.
	Exit *Exit
	// Lost is how many facts the agent could not keep.
	Lost uint64
}

// Exit is one end of a container's process.
type Exit struct {
	Code      int
	OOMKilled bool
	// Restarts is how often the engine has started the container again.
	Restarts int
	// Reason is why it ended, where the engine says.
	Reason string
	// LogTail is what it wrote last.
	LogTail []string
	// Unseen: the end was only noticed by the start that followed, so that
	// Code and OOMKilled are not known.
	Unseen bool
}

// Acknowledgement is an agent's answer to an assignment set.
type Acknowledgement struct {
	Generation uint64
	Hash       string
	// Refusal is why the set was not taken; "" when the agent holds it.
	Refusal string
}

// Listener is a session that wants to know what became of what it brought. Its
// methods must not block: other sessions wait for them to return.
type Listener interface {
	// Committed tells the last report and the last fact that are committed.
	Committed(sequence, fact uint64)
	// Refused tells that nothing of the session is taken any more: it was
	// replaced, its agent revoked, or a report can't be stored.
	Refused(err error)
}

// Reporter is what is known of an agent before its reports are written.
type Reporter struct {
	Epoch   int64
	Revoked bool
	// Sequence is of the last report that was written.
	Sequence uint64
	// SpoolID and Fact are the last fact that was.
	SpoolID string
	Fact    uint64
	// ContainersHash is the digest of the containers as they are stored; nil
	// when that is not known.
	ContainersHash []byte
	EngineError    string
	Applied        deployment.Held
	Refusal        string
	Refused        uint64
}

// Advance is what an agent has come to.
type Advance struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	Reporter
	// Accepted: the agent holds Applied, and diverges no more.
	Accepted bool
}

// NodeContainers is how a node's containers have changed.
type NodeContainers struct {
	NodeID uuid.UUID
	// Changed are new or different; Compared tells that they are for certain,
	// since it is known what is stored.
	Changed  []workload.Container
	Compared bool
	// Keep are the engine ids of all containers there are; nil when none has
	// gone.
	Keep []string
}

// ContainerHealth is the verdict on a container of ours: healthy or unhealthy.
type ContainerHealth struct {
	NodeID    uuid.UUID
	Container workload.Container
}

// NodeFact is a fact of a node.
type NodeFact struct {
	NodeID  uuid.UUID
	AgentID uuid.UUID
	SpoolID string
	Fact
}

// NodeEvent is an entry of a node's history.
type NodeEvent struct {
	NodeID uuid.UUID
	Event  string
	Data   map[string]any
}

// Events in a node's history.
const (
	EventEngineDown = "engineDown"
	EventEngineUp   = "engineUp"
	EventRefused    = "assignmentsRefused"
	EventAccepted   = "assignmentsAccepted"
	EventFactsLost  = "factsLost"
	// EventHealth: a container of ours became unhealthy, or healthy again. Its
	// data are engineId, prefix, name, deploymentId and health.
	EventHealth = "containerHealth"
)

// Store keeps what is reported; it joins the transaction in ctx.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// LockReporters locks agents until the transaction ends and returns what
	// is known of them, by id.
	LockReporters(ctx context.Context, agentIDs []uuid.UUID) (map[uuid.UUID]Reporter, error)
	// AdvanceReporters writes what agents have come to. Whether their
	// containers were rewritten shows in ContainersHash.
	AdvanceReporters(ctx context.Context, list []Advance, at time.Time) error
	PutContainers(ctx context.Context, list []NodeContainers) error
	// TurnedHealth returns which of the containers, as they are about to be
	// stored, became unhealthy since they were last told as healthy, or the
	// other way about; by the places in the list.
	TurnedHealth(ctx context.Context, list []ContainerHealth) ([]int, error)
	// AppendFacts adds facts that are not there yet, and drops the oldest of
	// each node above keep.
	AppendFacts(ctx context.Context, list []NodeFact, keep int) error
	AppendNodeEvents(ctx context.Context, list []NodeEvent, at time.Time) error
	// DeleteCommandsBefore drops commands whose deadline was before.
	DeleteCommandsBefore(ctx context.Context, deadline time.Time) error
}

// FactQuery chooses a page of a node's facts.
type FactQuery struct {
	Skip, Take int
	// Prefix and Name choose one prefix's, or one container's; nil is all.
	Prefix *string
	Name   *string
}

// Progress takes what agents tell of deployments, in the transaction of the
// report.
type Progress interface {
	RecordNodes(ctx context.Context, list []deployment.NodeProgress) error
}

// Config is what a Recorder needs.
type Config struct {
	Store    Store
	Progress Progress
	Log      *slog.Logger
	Now      func() time.Time
}

// mayWrite returns nil when the session may write for its agent.
func mayWrite(s agent.Session, r Reporter, found bool) error {
	switch {
	case !found || r.Revoked:
		return apperr.New(apperr.Forbidden,
			"this agent's identity was revoked or its node deleted; install it anew if that was not meant").WithReason(agent.ReasonRevoked)
	case r.Epoch != s.Epoch:
		return apperr.New(apperr.Precondition, "a newer session of this agent has taken over").WithReason(agent.ReasonReplaced)
	default:
		return nil
	}
}
