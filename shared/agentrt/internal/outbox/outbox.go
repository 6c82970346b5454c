// Package outbox holds what the agent has to tell until the controller has it.
// Statuses and the container list keep only their latest value; events are a
// queue with a limit; facts come from the spool, which keeps them over restarts.
// A report, once cut, never changes: it is sent again under its sequence until
// it is acknowledged.
package outbox

import (
	"crypto/sha256"
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
	// maxEventBytes bounds them too.
	maxEventBytes = 8 << 20
	// maxFacts and maxFactBytes bound the facts in one report.
	maxFacts     = MaxItems / 2
	maxFactBytes = maxReportBytes / 2
)

// Spool is what the outbox needs of the spool of facts.
type Spool interface {
	ID() string
	Next(after uint64, most, bytes int) ([]*agentv1.Fact, error)
	Waiting(after uint64) bool
	Ack(sequence uint64)
	Opened(committed uint64) error
}

// Outbox is safe for concurrent use.
type Outbox struct {
	ready chan struct{}
	spool Spool
	// broken is told an error of the spool, which takes nothing else with it.
	broken func(error)

	mu       sync.Mutex
	sequence uint64
	unacked  []*agentv1.StatusReport

	statuses   map[string]*agentv1.DeploymentStatus
	order      []string // deployment ids of statuses, oldest first
	events     queue
	containers *agentv1.ContainerList // that waits
	latest     *agentv1.ContainerList
	told       hash // of the last list that was cut into a report
	acked      uint64

	takesFacts bool   // whether the controller does
	fact       uint64 // the last fact that was cut into a report
}

// New returns an empty outbox whose first report has sequence 1. Its facts are
// those of the spool; broken is told when they cannot be read.
func New(spool Spool, broken func(error)) *Outbox {
	return &Outbox{
		ready: make(chan struct{}, 1), spool: spool, broken: broken,
		statuses: map[string]*agentv1.DeploymentStatus{},
		events:   queue{limit: MaxEvents, maxBytes: maxEventBytes},
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
	o.latest, o.containers = list, nil
	if hashOf(list) == o.told {
		return
	}
	o.containers = list
	o.signal()
}

type hash [sha256.Size]byte

// hashOf is of what a list tells, whenever it was seen.
func hashOf(list *agentv1.ContainerList) hash {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(&agentv1.ContainerList{
		Containers: list.GetContainers(), EngineError: list.GetEngineError(),
	})
	if err != nil { // text that is not UTF-8, which the converter mends
		return hash{}
	}
	return sha256.Sum256(append(text, 0)) // never the zero hash, which stands for none
}

// SpoolID is the id of the spool that facts come from.
func (o *Outbox) SpoolID() string { return o.spool.ID() }

// Facts tells that there are facts in the spool.
func (o *Outbox) Facts() { o.signal() }

// Cut makes the next report of what waits; nil when nothing does, or when so
// many reports are unacknowledged that this must wait.
//
// One goroutine at a time calls it, and none calls Opened meanwhile.
func (o *Outbox) Cut() *agentv1.StatusReport {
	facts := o.nextFacts() // from the disk, which nobody else waits for
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unacked) >= maxUnacked {
		return nil
	}
	report := &agentv1.StatusReport{Facts: facts}
	if len(facts) > 0 {
		report.SpoolId = o.spool.ID()
		o.fact = facts[len(facts)-1].GetSequence()
	}
	report.Events = o.events.take(MaxItems-len(report.Facts), maxReportBytes)
	report.Deployments = o.takeStatuses(MaxItems - len(report.Facts) - len(report.Events))
	if o.containers.GetEngineError() != "" && o.containers.GetObservedAt() == nil && !o.takesFacts {
		o.containers = nil // an older controller would take it for a node without containers
	}
	if o.containers != nil {
		report.Containers, o.told, o.containers = o.containers, hashOf(o.containers), nil
	}
	if len(report.GetEvents()) == 0 && len(report.GetDeployments()) == 0 && len(report.GetFacts()) == 0 && report.GetContainers() == nil {
		return nil
	}
	o.sequence++
	report.Sequence = o.sequence
	o.unacked = append(o.unacked, report)
	return report
}

func (o *Outbox) nextFacts() []*agentv1.Fact {
	o.mu.Lock()
	takes, after := o.takesFacts && len(o.unacked) < maxUnacked, o.fact
	o.mu.Unlock()
	if !takes {
		return nil
	}
	facts, err := o.spool.Next(after, maxFacts, maxFactBytes)
	if err != nil {
		o.broken(err)
		return nil
	}
	return facts
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

// Ack forgets every report up to the sequence, and every fact: the controller
// has them.
func (o *Outbox) Ack(sequence, fact uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ack(sequence)
	if o.takesFacts {
		o.spool.Ack(fact)
	}
	o.signal()
}

func (o *Outbox) ack(sequence uint64) {
	n := 0
	for n < len(o.unacked) && o.unacked[n].GetSequence() <= sequence {
		n++
	}
	o.unacked = append([]*agentv1.StatusReport(nil), o.unacked[n:]...)
	o.acked = max(o.acked, min(sequence, o.sequence))
}

// Opened tells that a session begins: what the controller has of this boot's
// reports and of the spool's facts, and whether it takes facts at all.
func (o *Outbox) Opened(sequence, fact uint64, takesFacts bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	forgot := sequence < o.acked
	o.ack(sequence)
	if forgot && o.containers == nil { // its database is older than it was
		o.containers = o.latest
	}
	o.takesFacts = takesFacts
	if takesFacts {
		if err := o.spool.Opened(fact); err != nil {
			o.broken(err)
		}
	}
	o.fact = 0
	for _, report := range o.unacked {
		if report.GetSpoolId() != o.spool.ID() {
			report.Facts, report.SpoolId = nil, "" // they are in the spool, under other numbers
		}
		for _, f := range report.GetFacts() {
			o.fact = f.GetSequence()
		}
	}
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
	return len(o.unacked) == 0 && len(o.order) == 0 && o.events.len() == 0 && o.containers == nil &&
		(!o.takesFacts || !o.spool.Waiting(o.fact))
}
