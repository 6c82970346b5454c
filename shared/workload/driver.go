// Package workload is the port that every agent implements for its engine:
// how a deployment becomes containers, and what is seen of them afterwards.
package workload

import (
	"context"
	"time"

	"fairlead.dev/shared/spec"
)

// Driver runs deployments on one engine. It holds no desired state: the engine
// and the labels on its objects are its only memory.
//
// Contract. Every method is safe to call from several goroutines, except that
// callers never run two Apply or Remove calls for the same prefix at once.
// Every method returns promptly when ctx ends; whatever it was doing is then
// left so that the same call, repeated, converges. Errors carry an apperr
// kind: Unsupported (never retry), Invalid (never retry), Conflict (something
// that is not ours is in the way), NotFound, Unavailable (the engine is away;
// retry), Internal.
//
// A driver touches only what carries its own labels. Everything else on the
// host it lists and leaves alone.
//
// A prefix holds one deployment at a time. When a deployment is applied under a
// prefix that another deployment of ours holds, as the next version of a
// project does, it takes the prefix over: the other's containers are the
// previous release. Workloads of old and new are matched by container name.
type Driver interface {
	// Info describes the engine. It fails with Unavailable when the engine
	// does not answer.
	Info(ctx context.Context) (EngineInfo, error)

	// Check reports, without touching the engine, what in the deployment this
	// driver cannot honour: an Unsupported error that names each key. Nothing
	// in a spec is ever silently ignored.
	Check(d spec.Deployment) error

	// Plan tells what Apply would do now, from what is there now. It changes
	// nothing, and fails as Check does when the deployment cannot be honoured,
	// and with Conflict when something that is not ours stands in the way.
	Plan(ctx context.Context, d spec.Deployment) (Plan, error)

	// Apply makes the node run the deployment, all or nothing. A workload
	// whose hash is unchanged keeps its containers, which are started if they
	// are stopped. Images are pulled before anything is stopped. When Apply
	// fails, the previous release under the prefix serves on or serves
	// again, and the error is a *Failure that tells the step. Containers of
	// the prefix that the spec no longer names are retired at the end.
	Apply(ctx context.Context, d spec.Deployment, report Reporter) error

	// Remove stops and removes every container of ours under the prefix;
	// volumes stay. Removing what is not there succeeds.
	Remove(ctx context.Context, prefix string, report Reporter) error

	// List returns every container on the engine, foreign ones included.
	List(ctx context.Context) ([]Container, error)

	// Watch calls changed after anything about containers may have changed,
	// and blocks until ctx ends (nil) or the engine's events are lost (error;
	// the caller lists and watches again). Calls are hints and may be merged.
	Watch(ctx context.Context, changed func()) error

	// Start, Stop, Restart and Delete act on one container. Delete stops it
	// first. They act on containers of the driver's own making only; others
	// are refused with Forbidden, missing ones with NotFound.
	Start(ctx context.Context, id ContainerID) error
	Stop(ctx context.Context, id ContainerID) error
	Restart(ctx context.Context, id ContainerID) error
	Delete(ctx context.Context, id ContainerID) error

	// Logs calls line for each log line, oldest first, until the log ends,
	// ctx ends, or line returns an error, which Logs returns.
	//
	// A line that takes long holds the log up, and nothing else: Logs never
	// gathers more than a few lines ahead of it.
	Logs(ctx context.Context, id ContainerID, opts LogOptions, line func(LogLine) error) error

	// Inspect returns what the engine knows of a container, foreign ones
	// included, as one JSON object. The values of environment variables, and
	// whatever else may be a secret, are taken out. It fails with NotFound
	// when there is none of that name.
	Inspect(ctx context.Context, id ContainerID) ([]byte, error)

	// Exec runs a command in a running container of the driver's own making
	// and returns its exit code when it has ended and all that it wrote was
	// handed over. It fails with NotFound when there is no such container,
	// Forbidden for one that is not ours, Precondition when it does not run,
	// and with Invalid when the command cannot be run in it. When ctx ends
	// first, or Output fails, it returns that error and tries to end the
	// command too.
	Exec(ctx context.Context, id ContainerID, opts ExecOptions, streams ExecStreams) (exitCode int, err error)
}

// Warden is what a Driver is as well when it notices what somebody else changes
// of what it made.
type Warden interface {
	// Guard calls tell for what somebody else changed or deleted of what the
	// last good release of a prefix made, and puts it back where that release's
	// policy says so. An event names fields, never values. Guard never acts
	// while Apply or Remove of the prefix does. It blocks until ctx ends (nil),
	// or until it cannot go on (error; the caller calls it again).
	Guard(ctx context.Context, tell func(prefix string, e Event)) error
}

// EngineInfo describes an engine.
type EngineInfo struct {
	// ID is the engine's own id, stable over restarts.
	ID string
	// Name is "docker" or "kubernetes", Version as it reports itself.
	Name    string
	Version string
	// OS and Architecture of the host, in Go's words (linux, amd64).
	OS           string
	Architecture string
}

// ContainerID names a container as the team API does: by prefix and name, so
// that the engine's name is "<prefix>-<name>". A container without a prefix is
// named by its engine name alone.
type ContainerID struct {
	Prefix string
	Name   string
}

// Container is what was seen of one container.
type Container struct {
	ID ContainerID
	// EngineID is the engine's id of it.
	EngineID string
	// Managed is true for containers this driver made. The four fields after
	// it are empty for others.
	Managed      bool
	DeploymentID string
	InstanceID   string
	Release      int64
	SpecHash     string

	ImageName string
	ImageTag  string
	// ImageDigest is the id of the image it runs, "sha256:…".
	ImageDigest string
	Command     string
	CreatedAt   time.Time
	State       spec.ContainerState
	// Reason is the engine's own word, e.g. "running", "restarting", "OOMKilled".
	Reason string
	// ExitCode is of the process that ended last; 0 while one runs.
	ExitCode int
	// OOMKilled is true when that process ended for want of memory.
	OOMKilled bool
	// RestartCount is how often the engine has started the container again by
	// itself. Engines may count from 0 again when somebody starts it.
	RestartCount int
	// StartedAt is when the present process began, or the one that ended last;
	// zero when none has. FinishedAt is when the last one ended; zero when none
	// has. Both are exact and, with RestartCount, only of containers that are
	// Managed: engines do not list them.
	StartedAt  time.Time
	FinishedAt time.Time
	// EndReason is why the last one ended, in the engine's words; empty where the
	// engine knows no more of it than the exit code. It is told with the end, not
	// with the state.
	EndReason string
	// Health is "", "starting", "healthy" or "unhealthy".
	Health string
	Ports  []Port
	// Leftover is true for a container of ours whose prefix nothing is assigned
	// to. Drivers do not set it: they do not know what is assigned.
	Leftover bool
}

// Port is a port of a container, published when External is not 0.
type Port struct {
	Internal int32
	External int32
	Protocol string
}

// LogOptions choose which part of a log is read.
type LogOptions struct {
	// Tail is how many of the last lines to begin with; 0 means none of the
	// past, negative means all.
	Tail int
	// Follow keeps reading as the container writes.
	Follow bool
	// Since leaves out older lines when it is not zero.
	Since time.Time
}

// LogLine is one line a container wrote.
type LogLine struct {
	Time time.Time
	// Stream is "stdout" or "stderr".
	Stream string
	Text   string
}

// ExecOptions say what is run in a container, and how.
type ExecOptions struct {
	// Command is the program and its arguments; at least one word.
	Command []string
	// Terminal gives the command a terminal, so that all it writes is
	// StreamStdout. Size is the terminal's at the beginning; the zero value
	// leaves it to the engine.
	Terminal bool
	Size     TerminalSize
	// Environment is added to the container's.
	Environment map[string]string
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct {
	Columns uint16
	Rows    uint16
}

// Names of what a process writes to.
const (
	StreamStdout = "stdout"
	StreamStderr = "stderr"
)

// ExecStreams connect a command. Everything here may be slow: the command then
// waits, and nothing is gathered for it beyond a few pieces.
type ExecStreams struct {
	// Input is what the command reads, at most 32 KiB a piece; closing it is
	// the end of the input. Nil means that the command gets no input at all.
	// Exec takes from it until it returns; whoever sends must not wait for
	// longer than that.
	Input <-chan []byte
	// Resize changes the size of the terminal; nil when it never does.
	Resize <-chan TerminalSize
	// Output is given what the command writes, one piece at a time, at most
	// 32 KiB each, which it must not keep. It may block, and must return when
	// the ctx of Exec ends. An error ends the Exec.
	Output func(stream string, data []byte) error
}
