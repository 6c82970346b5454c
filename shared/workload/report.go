package workload

import (
	"fmt"
	"time"

	"fairlead.dev/shared/spec"
)

// Reporter is told how an Apply or Remove goes on. Calls never block for long
// and must not be made after Apply or Remove has returned.
type Reporter interface {
	Report(Event)
}

// ReporterFunc makes a function a Reporter.
type ReporterFunc func(Event)

// Report calls f.
func (f ReporterFunc) Report(e Event) { f(e) }

// Level says how serious an event is.
type Level string

// Levels of events.
const (
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Event is one line of the story of a deployment, or a state a workload came
// to, or both.
type Event struct {
	Time  time.Time
	Level Level
	// InstanceID is empty for events of the deployment as a whole.
	InstanceID string
	// Lines are for people; they never contain secrets.
	Lines []string
	// State is set when the workload came to another state.
	State  spec.ContainerState
	Reason string
	// Digest is set when it became known what the workload's image stands for:
	// its digest in its repository, "sha256:" and hex.
	Digest string
	// OtherDigests are the same of the images of init and configuration
	// containers, by their references as the deployment has them.
	OtherDigests map[string]string
}

// Phase is where one release of a deployment is on its node.
type Phase string

// Phases. Pending and InProgress may change, the others are final for a
// generation.
const (
	PhasePending    Phase = "pending"
	PhaseInProgress Phase = "in-progress"
	PhaseSuccessful Phase = "successful"
	PhaseFailed     Phase = "failed"
	PhaseRemoved    Phase = "removed"
)

// Final reports whether nothing follows the phase within its generation.
func (p Phase) Final() bool {
	return p == PhaseSuccessful || p == PhaseFailed || p == PhaseRemoved
}

// Step is the part of a deploy in which it failed.
type Step string

// Steps of a deploy, in order.
const (
	StepCheck Step = "check"
	StepPlan  Step = "plan"
	StepPull  Step = "pull"
	// StepPreDeploy is the hook that runs before anything is touched.
	StepPreDeploy Step = "pre-deploy"
	StepInit      Step = "init"
	StepCreate    Step = "create"
	StepStart     Step = "start"
	StepHealth    Step = "health"
	StepSwitch    Step = "switch"
	StepRetire    Step = "retire"
	// StepPostDeploy is the hook that runs when the release is in place.
	StepPostDeploy Step = "post-deploy"
	StepRemove     Step = "remove"
)

// Failure is the failure card of a deploy: why it failed and what is known of
// the container that did.
type Failure struct {
	Step       Step
	InstanceID string
	// Container is the engine name of the failed container, "" if none.
	Container string
	// ExitCode is set when the container ended.
	ExitCode  *int
	OOMKilled bool
	// ProbeOutput is what the last health probe said.
	ProbeOutput string
	// LogTail holds the last lines the container wrote.
	LogTail []string
	// RolledBack is true when the previous release serves again or still.
	RolledBack bool
	// Err is the cause; it carries an apperr kind.
	Err error
}

// Error says at which step the deploy failed, and why.
func (f *Failure) Error() string {
	if f.Container != "" {
		return fmt.Sprintf("%s %s: %v", f.Step, f.Container, f.Err)
	}
	return fmt.Sprintf("%s: %v", f.Step, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }
