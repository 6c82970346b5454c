package workload

import (
	"fmt"
	"sync"
	"time"

	"fairlead.dev/shared/spec"
)

// Story tells how an Apply or Remove goes on, from any of its goroutines. It
// falls silent when the call that it belongs to returns.
type Story struct {
	mu     sync.Mutex
	report Reporter
	now    func() time.Time
}

// NewStory returns a story told to report, with the times that now says.
func NewStory(report Reporter, now func() time.Time) *Story {
	return &Story{report: report, now: now}
}

// Tell tells an event, as of now; nothing after End.
func (s *Story) Tell(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		return
	}
	e.Time = s.now()
	s.report.Report(e)
}

// End makes the story fall silent.
func (s *Story) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = nil
}

// Info tells a line about an instance, or about the deployment when instanceID
// is empty.
func (s *Story) Info(instanceID, format string, args ...any) {
	s.Tell(Event{Level: LevelInfo, InstanceID: instanceID, Lines: []string{fmt.Sprintf(format, args...)}})
}

// Warn tells a line of warning, as Info does.
func (s *Story) Warn(instanceID, format string, args ...any) {
	s.Tell(Event{Level: LevelWarn, InstanceID: instanceID, Lines: []string{fmt.Sprintf(format, args...)}})
}

// State tells that a workload came to another state.
func (s *Story) State(instanceID string, state spec.ContainerState, reason, format string, args ...any) {
	s.Tell(Event{
		Level: LevelInfo, InstanceID: instanceID, Lines: []string{fmt.Sprintf(format, args...)},
		State: state, Reason: reason,
	})
}
