package kube

import (
	"fmt"
	"sync"
	"time"

	"fairlead.dev/shared/workload"
)

// story tells how an Apply or Remove goes on. It falls silent when the call that
// it belongs to returns.
type story struct {
	mu     sync.Mutex
	report workload.Reporter
	now    func() time.Time
}

func (s *story) tell(e workload.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		return
	}
	e.Time = s.now()
	s.report.Report(e)
}

func (s *story) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = nil
}

func (s *story) info(instanceID, format string, args ...any) {
	s.tell(workload.Event{Level: workload.LevelInfo, InstanceID: instanceID, Lines: []string{fmt.Sprintf(format, args...)}})
}

func (s *story) warn(instanceID, format string, args ...any) {
	s.tell(workload.Event{Level: workload.LevelWarn, InstanceID: instanceID, Lines: []string{fmt.Sprintf(format, args...)}})
}

func (s *story) state(c workload.Container) {
	s.tell(workload.Event{
		Level: workload.LevelInfo, InstanceID: c.InstanceID, State: c.State, Reason: c.Reason, Digest: c.ImageDigest,
		Lines: []string{fmt.Sprintf("%s is %s", c.ID.Name, c.State)},
	})
}
