package fleetsim

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// outbox keeps what one boot of an agent has to tell until the controller has
// it. Of deployments and containers it keeps the latest state, as real agents
// do.
type outbox struct {
	// ready has an item while there may be something to cut.
	ready chan struct{}

	mu         sync.Mutex
	sequence   uint64
	statuses   map[string]*agentv1.DeploymentStatus
	events     []*agentv1.DeploymentEvent
	containers bool
	// unacked are in order of their sequence; those before sent were sent on
	// this session.
	unacked []report
	sent    int
	// told are command results sent on this session.
	told map[string]bool
}

type report struct {
	*agentv1.StatusReport
	at time.Time
}

func newOutbox() *outbox {
	return &outbox{ready: make(chan struct{}, 1), statuses: map[string]*agentv1.DeploymentStatus{}, containers: true}
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// status tells of a deployment.
func (o *outbox) status(s *agentv1.DeploymentStatus, events ...*agentv1.DeploymentEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statuses[s.GetDeploymentId()] = s
	o.events = append(o.events, events...)
	o.containers = true
	o.wake()
}

// list tells the containers.
func (o *outbox) list() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.containers = true
	o.wake()
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.unacked) == 0 && len(o.statuses) == 0 && !o.containers
}

// Told reports whether the controller has all that the agent had to tell.
func (a *Agent) Told() bool {
	a.mu.Lock()
	b := a.boot
	a.mu.Unlock()
	return b == nil || b.outbox.empty()
}

// again begins a session: what is not acknowledged is sent anew.
func (o *outbox) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent, o.told = 0, nil
}

func (o *outbox) firstTime(command string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told[command] {
		return false
	}
	if o.told == nil {
		o.told = map[string]bool{}
	}
	o.told[command] = true
	return true
}

// next returns the next report to send, cut from what there is to tell; nil
// when all is said.
func (o *outbox) next(a *Agent) *agentv1.StatusReport {
	var containers []*agentv1.Container
	o.mu.Lock()
	list := o.containers && o.sent == len(o.unacked)
	o.mu.Unlock()
	if list {
		containers = a.containers()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sent == len(o.unacked) {
		if len(o.statuses) == 0 && !o.containers {
			return nil
		}
		o.sequence++
		r := &agentv1.StatusReport{Sequence: o.sequence, Events: o.events}
		for _, s := range o.statuses {
			r.Deployments = append(r.Deployments, s)
		}
		if list {
			r.Containers = &agentv1.ContainerList{ObservedAt: timestamppb.Now(), Containers: containers}
			o.containers = false
		}
		clear(o.statuses)
		o.events = nil
		o.unacked = append(o.unacked, report{r, time.Now()})
	}
	o.sent++
	return o.unacked[o.sent-1].StatusReport
}

// acknowledged forgets the reports up to a sequence and returns how long each
// took.
func (o *outbox) acknowledged(sequence uint64) []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	var took []time.Duration
	n := 0
	for n < len(o.unacked) && o.unacked[n].GetSequence() <= sequence {
		took = append(took, time.Since(o.unacked[n].at))
		n++
	}
	o.unacked = append(o.unacked[:0:0], o.unacked[n:]...)
	o.sent = max(0, o.sent-n)
	return took
}
