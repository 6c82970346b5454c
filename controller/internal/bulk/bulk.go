// Package bulk joins those who read something long from a node, a log or a
// terminal, with the agent that carries it over a connection of its own.
//
// A reader asks; the agent is asked over its session to come; it comes with the
// stream's id; from then on each part is handed on as fast as the reader takes
// it and no faster. What waits for a reader is bounded per stream and per
// agent, and a reader that takes nothing stops nobody but itself.
package bulk

import (
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/workload"
)

// Request says what is to be carried: a log or the terminal of a command;
// exactly one of the two.
type Request struct {
	Container workload.ContainerID
	Logs      *Logs
	Exec      *Exec
}

// Logs asks for the log of a container.
type Logs struct {
	// Tail is how many lines from before now.
	Tail int
	// Follow goes on with new lines until somebody ends the stream.
	Follow bool
	// Since leaves out older lines when it is not zero.
	Since time.Time
}

// Exec asks for a command to be run in a container.
type Exec struct {
	Command     []string
	TTY         bool
	Stdin       bool
	Size        Size
	Environment map[string]string
}

// Size of a terminal, in characters.
type Size struct{ Columns, Rows uint32 }

// Up is one part of what an agent carries to the reader: lines, output, or the
// end.
type Up struct {
	Lines []workload.LogLine
	// Dropped lines came before these faster than they could be carried.
	Dropped uint64
	// Stream is "stdout" or "stderr", for Data.
	Stream string
	Data   []byte
	// End is set on the last part.
	End *End
}

// End is how it ended at the agent.
type End struct {
	// Err is nil when it ended well; it carries the kind the agent gave.
	Err error
	// ExitCode is of a command that ran.
	ExitCode *int
}

// Down is one part of what a reader sends to the agent.
type Down struct {
	Input []byte
	// InputClosed says that no more input follows.
	InputClosed bool
	Resize      *Size
}

// Stream is the reader's end of a stream.
type Stream interface {
	// Recv waits for the next part. After one with an End it fails with io.EOF,
	// and when the stream breaks, with why.
	Recv() (Up, error)
	// Send waits until the agent's side takes the part; it fails with why the
	// stream ended.
	Send(d Down) error
	// Close ends the stream. The first cause is the one that Recv and Send fail
	// with; nil is for a reader who has enough.
	Close(cause error)
}

// Ask is what an agent is told over its session: come with this id.
type Ask struct {
	StreamID string
	Deadline time.Time
	Request  Request
}

// Session is an open session that agents' streams belong to.
type Session struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	Epoch   int64
	// Capable is whether the agent carries streams at all, ExecCapable whether
	// it runs commands.
	Capable     bool
	ExecCapable bool
	// Ask sends to the agent. It may wait for the connection.
	Ask func(a Ask) error
}

// Reasons that errors of this package carry, for programs.
const (
	// ReasonNotHere: the session is not one of this replica's.
	ReasonNotHere = "session-not-here"
	// ReasonStopping: the controller stops; another one, or this one started
	// again, serves the same.
	ReasonStopping = "controller-stopping"
	// ReasonSessionEnded: the agent's session ended, and with it the stream.
	ReasonSessionEnded = "session-ended"
	// ReasonPeerAway: the replica that has the session does not answer.
	ReasonPeerAway = "controller-away"
	// ReasonNoCarrier: the agent did not come.
	ReasonNoCarrier = "agent-did-not-come"
)

// Limits bound what streams may hold. All of them are hard.
type Limits struct {
	// StreamBytes wait at most for the reader of one stream, AgentBytes for the
	// readers of all streams of one agent.
	StreamBytes, AgentBytes int
	// PerAgent, PerTeam and Total count streams.
	PerAgent, PerTeam, Total int
	// Patience is how long an agent may take to come.
	Patience time.Duration
}

// What one stream holds besides its queue: the transport's window, and the
// part that is being handed on. With PerAgent they are part of AgentBytes.
const (
	windowBytes = 64 << 10
	// maxPart is the largest part that is handed on as one; longer ones are cut.
	// A single line can be that long.
	maxPart   = 64<<10 + lineOverhead
	fixedSize = windowBytes + maxPart
)

// DefaultLimits are 1 MiB a stream and 8 MiB an agent.
func DefaultLimits() Limits {
	return Limits{
		StreamBytes: 1 << 20, AgentBytes: 8 << 20,
		PerAgent: 16, PerTeam: 128, Total: 512, // agents carry 16
		Patience: 10 * time.Second,
	}
}
