package specpb

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// phases, levels and their wire forms, one row each.
func phases() map[workload.Phase]agentv1.Phase {
	return map[workload.Phase]agentv1.Phase{
		workload.PhasePending:    agentv1.Phase_PHASE_PENDING,
		workload.PhaseInProgress: agentv1.Phase_PHASE_IN_PROGRESS,
		workload.PhaseSuccessful: agentv1.Phase_PHASE_SUCCESSFUL,
		workload.PhaseFailed:     agentv1.Phase_PHASE_FAILED,
		workload.PhaseRemoved:    agentv1.Phase_PHASE_REMOVED,
	}
}

// PhaseToProto returns the phase's wire form; unspecified for an unknown one.
func PhaseToProto(p workload.Phase) agentv1.Phase { return phases()[p] }

// PhaseFromProto reads a phase. It fails with Unsupported for one that this
// build does not know.
func PhaseFromProto(p agentv1.Phase) (workload.Phase, error) {
	for phase, wire := range phases() {
		if wire == p {
			return phase, nil
		}
	}
	return "", apperr.New(apperr.Unsupported, "phase %d is not known to this version", p)
}

// FailureToProto returns the failure card; nil for nil. The cause travels as
// its text and kind.
func FailureToProto(f *workload.Failure) *agentv1.Failure {
	if f == nil {
		return nil
	}
	p := &agentv1.Failure{
		Step:        string(f.Step),
		InstanceId:  f.InstanceID,
		Container:   clean(f.Container),
		OomKilled:   f.OOMKilled,
		ProbeOutput: clean(f.ProbeOutput),
		LogTail:     cleanAll(f.LogTail),
		RolledBack:  f.RolledBack,
		Kind:        apperr.Internal.String(),
	}
	if f.ExitCode != nil {
		code := int32(*f.ExitCode)
		p.ExitCode = &code
	}
	if f.Err != nil {
		p.Message = clean(f.Err.Error())
		p.Kind = apperr.KindOf(f.Err).String()
	}
	return p
}

// FailureFromProto reads a failure card; nil for nil. A kind that this build
// does not know is Internal.
func FailureFromProto(p *agentv1.Failure) *workload.Failure {
	if p == nil {
		return nil
	}
	f := &workload.Failure{
		Step:        workload.Step(p.GetStep()),
		InstanceID:  p.GetInstanceId(),
		Container:   p.GetContainer(),
		OOMKilled:   p.GetOomKilled(),
		ProbeOutput: p.GetProbeOutput(),
		LogTail:     convert(p.GetLogTail(), strings.Clone),
		RolledBack:  p.GetRolledBack(),
		Err:         apperr.New(KindFromProto(p.GetKind()), "%s", p.GetMessage()),
	}
	if p.ExitCode != nil {
		code := int(p.GetExitCode())
		f.ExitCode = &code
	}
	return f
}

// KindFromProto returns the error kind of that name; Internal if there is none.
func KindFromProto(name string) apperr.Kind {
	for _, kind := range apperr.Kinds() {
		if kind.String() == name {
			return kind
		}
	}
	return apperr.Internal
}

// EventToProto returns an event of a deployment's release. Text that is not
// UTF-8 is mended, since containers write what they like.
func EventToProto(deploymentID string, generation uint64, release int64, e workload.Event) *agentv1.DeploymentEvent {
	return &agentv1.DeploymentEvent{
		DeploymentId: deploymentID,
		Generation:   generation,
		Release:      release,
		Time:         timeToProto(e.Time),
		Level:        levelToProto(e.Level),
		InstanceId:   e.InstanceID,
		Lines:        cleanAll(e.Lines),
		State:        string(e.State),
		Reason:       clean(e.Reason),
		Digest:       clean(e.Digest),
		OtherDigests: e.OtherDigests,
	}
}

// EventFromProto reads an event; an unknown level is info.
func EventFromProto(p *agentv1.DeploymentEvent) workload.Event {
	return workload.Event{
		Time:         timeFromProto(p.GetTime()),
		Level:        levelFromProto(p.GetLevel()),
		InstanceID:   p.GetInstanceId(),
		Lines:        convert(p.GetLines(), strings.Clone),
		State:        spec.ContainerState(p.GetState()),
		Reason:       p.GetReason(),
		Digest:       p.GetDigest(),
		OtherDigests: p.GetOtherDigests(),
	}
}

// CheckReport fails with Invalid, naming the field, when a status report holds
// more than the protocol allows.
func CheckReport(p *agentv1.StatusReport) error {
	if n := len(p.GetDeployments()) + len(p.GetEvents()); n > MaxReportItems {
		return apperr.InvalidField("deployments", n, "at most %d deployments and events in one report", MaxReportItems)
	}
	// What is small as a whole has nothing too large in it: an entry takes two
	// bytes at least. Nearly all reports are, and the walk costs more than
	// everything else that is done with them.
	if proto.Size(p) <= min(MaxTextBytes, 2*MaxContainers) {
		return nil
	}
	return checkSize(p, MaxContainers, MaxTextBytes)
}

// CheckSet fails with Invalid when an assignment set assigns a prefix twice or
// holds more assignments than the protocol allows. It does not look into
// the deployments: one that cannot be read must not stand in the way of the
// others.
func CheckSet(set *agentv1.AssignmentSet) error {
	if n := len(set.GetAssignments()); n > MaxAssignments {
		return apperr.InvalidField("assignments", n, "at most %d assignments", MaxAssignments)
	}
	seen := make(map[string]bool, len(set.GetAssignments()))
	for _, a := range set.GetAssignments() {
		if seen[a.GetPrefix()] {
			return apperr.InvalidField("assignments", a.GetPrefix(), "the prefix is assigned twice")
		}
		seen[a.GetPrefix()] = true
	}
	return nil
}

func levelToProto(l workload.Level) agentv1.EventLevel {
	switch l {
	case workload.LevelWarn:
		return agentv1.EventLevel_EVENT_LEVEL_WARN
	case workload.LevelError:
		return agentv1.EventLevel_EVENT_LEVEL_ERROR
	default:
		return agentv1.EventLevel_EVENT_LEVEL_INFO
	}
}

func levelFromProto(p agentv1.EventLevel) workload.Level {
	switch p {
	case agentv1.EventLevel_EVENT_LEVEL_WARN:
		return workload.LevelWarn
	case agentv1.EventLevel_EVENT_LEVEL_ERROR:
		return workload.LevelError
	default:
		return workload.LevelInfo
	}
}

func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromProto(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}

// clean makes text fit for the wire: valid UTF-8 and not endless.
func clean(text string) string {
	if len(text) > MaxTextBytes {
		text = text[:MaxTextBytes]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func cleanAll(list []string) []string { return convert(list, clean) }
