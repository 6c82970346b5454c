// Package outbox holds what the agent has to tell until the controller has it.
// Statuses and the container list keep only their latest value; events are a
// queue with a limit. A report, once cut, never changes: it is sent again under
// its sequence until it is acknowledged.
package outbox

import (
	"sync"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Limits of the outbox.
const (
	// MaxItems is the most statuses and events in one report.
	MaxItems = 256
	// maxReportBytes ends a report early when its events are large.
	maxReportBytes = 1 << 20
	// maxUnacked is how many reports may wait for their acknowledgement
	// before no more are cut; meanwhile values coalesce.
	maxUnacked = 8
	// MaxEvents is how many events wait; beyond it the oldest are dropped.
	MaxEvents = 10_000
)

// Outbox is safe for concurrent use.
type Outbox struct {
	ready chan struct{}

	mu       sync.Mutex
	sequence uint64
	unacked  []*agentv1.StatusReport

	statuses   map[string]*agentv1.DeploymentStatus
	order      []string // deployment ids of statuses, oldest first
	events     queue
	containers *agentv1.ContainerList
	told       *agentv1.ContainerList // the last list that was cut into a report
}

// New returns an empty outbox whose first report has sequence 1.
func New() *Outbox {
	return &Outbox{
		ready:    make(chan struct{}, 1),
		statuses: map[string]*agentv1.DeploymentStatus{},
		events:   queue{limit: MaxEvents},
	}
}

// Ready is signalled after something was put in or acknowledged.
func (o *Outbox) Ready() <-chan struct{} { return o.ready }

func (o *Outbox) signal() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// Status tells the latest state of a deployment's assignment. Of two, the one
// of the greater generation is kept, and of equal ones the later.
func (o *Outbox) Status(s *agentv1.DeploymentStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := s.GetDeploymentId()
	old, waits := o.statuses[id]
	if waits && old.GetGeneration() > s.GetGeneration() {
		return
	}
	if !waits {
		o.order = append(o.order, id)
	}
	o.statuses[id] = s
	o.signal()
}

// Event tells a line of a deployment's log.
func (o *Outbox) Event(e *agentv1.DeploymentEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events.push(e)
	o.signal()
}

// Containers tells the node's containers. A list that shows nothing new is not
// sent.
func (o *Outbox) Containers(list *agentv1.ContainerList) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told != nil && sameContainers(o.told, list) {
		o.containers = nil
		return
	}
	o.containers = list
	o.signal()
}

func sameContainers(a, b *agentv1.ContainerList) bool {
	return proto.Equal(
		&agentv1.ContainerList{Containers: a.GetContainers()},
		&agentv1.ContainerList{Containers: b.GetContainers()},
	)
}

// Cut makes the next report of what waits; nil when nothing does, or when so
// many reports are unacknowledged that this must wait.
func (o *Outbox) Cut() *agentv1.StatusReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unacked) >= maxUnacked {
		return nil
	}
	report := &agentv1.StatusReport{Events: o.events.take(MaxItems, maxReportBytes)}
	report.Deployments = o.takeStatuses(MaxItems - len(report.Events))
	if o.containers != nil {
		report.Containers, o.told, o.containers = o.containers, o.containers, nil
	}
	if len(report.GetEvents()) == 0 && len(report.GetDeployments()) == 0 && report.GetContainers() == nil {
		return nil
	}
	o.sequence++
	report.Sequence = o.sequence
	o.unacked = append(o.unacked, report)
	return report
}

// takeStatuses leaves behind those whose events still wait: what led to an
// end is told before the end.
func (o *Outbox) takeStatuses(most int) []*agentv1.DeploymentStatus {
	waiting := o.events.deployments()
	var taken []*agentv1.DeploymentStatus
	var left []string
	for _, id := range o.order {
		if len(taken) == most || waiting[id] {
			left = append(left, id)
			continue
		}
		taken = append(taken, o.statuses[id])
		delete(o.statuses, id)
	}
	o.order = left
	return taken
}

// Ack forgets every report up to the sequence: the controller has them.
func (o *Outbox) Ack(sequence uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(o.unacked) && o.unacked[n].GetSequence() <= sequence {
		n++
	}
	o.unacked = append([]*agentv1.StatusReport(nil), o.unacked[n:]...)
	o.signal()
}

// Unacked returns the reports to send again on a new session, in order.
func (o *Outbox) Unacked() []*agentv1.StatusReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*agentv1.StatusReport(nil), o.unacked...)
}

// Waiting returns how many statuses and events wait to be cut.
func (o *Outbox) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.order) + o.events.len()
}

// Empty reports whether everything told was acknowledged.
func (o *Outbox) Empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.unacked) == 0 && len(o.order) == 0 && o.events.len() == 0 && o.containers == nil
}
