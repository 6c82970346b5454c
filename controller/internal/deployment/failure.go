package deployment

import (
	"fmt"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// boundFailure makes a failure card that a node sent fit to be kept.
func boundFailure(f *workload.Failure) *workload.Failure {
	if f == nil {
		return &workload.Failure{Err: apperr.New(apperr.Internal, "the node gave no reason")}
	}
	card := *f
	card.Step = workload.Step(boundText(string(f.Step), maxReasonBytes))
	card.InstanceID = boundText(f.InstanceID, maxReasonBytes)
	card.Container = boundText(f.Container, maxReasonBytes)
	card.ProbeOutput = boundText(f.ProbeOutput, MaxLineBytes)
	card.LogTail = boundTail(f.LogTail)
	if f.Err == nil {
		card.Err = apperr.New(apperr.Internal, "the node gave no reason")
	} else {
		card.Err = apperr.New(apperr.KindOf(f.Err), "%s", boundText(f.Err.Error(), MaxLineBytes))
	}
	return &card
}

// boundTail keeps the last lines: those tell why a container ended.
func boundTail(lines []string) []string {
	if len(lines) > MaxLogLines {
		lines = lines[len(lines)-MaxLogLines:]
	}
	return boundLines(lines)
}

// describe tells a failure in lines for people.
func describe(release int64, f *workload.Failure) []string {
	lines := []string{fmt.Sprintf("release %d failed: %v", release, f)}
	if f.ExitCode != nil {
		lines = append(lines, fmt.Sprintf("the container ended with exit code %d", *f.ExitCode))
	}
	if f.OOMKilled {
		lines = append(lines, "the container was killed because it needed more memory than it may have")
	}
	if f.ProbeOutput != "" {
		lines = append(lines, "the last health probe said: "+f.ProbeOutput)
	}
	if f.RolledBack {
		lines = append(lines, "what ran before serves on")
	}
	if len(f.LogTail) > 0 {
		lines = append(lines, "the last lines of its log:")
		room := MaxLogLines - len(lines)
		lines = append(lines, f.LogTail[max(0, len(f.LogTail)-room):]...)
	}
	return boundLines(lines)
}
