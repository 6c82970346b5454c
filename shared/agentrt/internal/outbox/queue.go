package outbox

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// queue is a queue of events, bounded in number and size. When it is full a
// tenth of it goes: the oldest plain lines first, so that changes of state and
// warnings outlive chatter. In place of what went stands, for each deployment,
// an event that says how many lines are missing.
type queue struct {
	limit    int
	maxBytes int
	items    []item
	bytes    int // of the items
}

type item struct {
	event *agentv1.DeploymentEvent
	// missing is the number of lines dropped here, for markers.
	missing int
}

func (q *queue) len() int { return len(q.items) }

func (q *queue) push(e *agentv1.DeploymentEvent) {
	q.items = append(q.items, item{event: e})
	q.bytes += proto.Size(e)
	for len(q.items) > q.limit || q.bytes > q.maxBytes {
		before := q.bytes
		if q.drop(max(1, len(q.items)/10)); q.bytes >= before {
			return // markers of what went are all there is
		}
	}
}

// take removes and returns the first events, at most so many and so large
// together; one always goes.
func (q *queue) take(most, bytes int) []*agentv1.DeploymentEvent {
	var taken []*agentv1.DeploymentEvent
	for _, it := range q.items {
		bytes -= proto.Size(it.event)
		if len(taken) == most || bytes < 0 && len(taken) > 0 {
			break
		}
		if it.missing > 0 {
			it.event.Lines = []string{fmt.Sprintf("%d lines dropped: they came faster than they could be sent", it.missing)}
		}
		taken = append(taken, it.event)
	}
	rest := q.items[len(taken):]
	q.items = append(make([]item, 0, len(rest)), rest...)
	q.measure()
	return taken
}

// deployments returns those that have events in the queue.
func (q *queue) deployments() map[string]bool {
	ids := map[string]bool{}
	for _, it := range q.items {
		ids[it.event.GetDeploymentId()] = true
	}
	return ids
}

func (q *queue) drop(n int) {
	defer q.measure()
	n = q.dropWhere(n, func(it item) bool {
		return it.event.GetLevel() == agentv1.EventLevel_EVENT_LEVEL_INFO && it.event.GetState() == ""
	})
	if n > 0 {
		q.dropWhere(n, func(item) bool { return true })
	}
}

// dropWhere drops the first n events that match and returns how many of n are
// still to be dropped.
func (q *queue) dropWhere(n int, match func(item) bool) int {
	markers := map[string]int{} // deployment id to index in kept
	var kept []item
	for _, it := range q.items {
		id := it.event.GetDeploymentId()
		at, marked := markers[id]
		switch {
		case it.missing > 0 && !marked:
			markers[id] = len(kept)
			kept = append(kept, it)
		case it.missing > 0:
			kept[at].missing += it.missing
		case n == 0 || !match(it):
			kept = append(kept, it)
		default:
			n--
			if !marked {
				at = len(kept)
				markers[id] = at
				kept = append(kept, marker(it.event))
			}
			kept[at].missing += len(it.event.GetLines())
		}
	}
	q.items = kept
	return n
}

func marker(of *agentv1.DeploymentEvent) item {
	return item{event: &agentv1.DeploymentEvent{
		DeploymentId: of.GetDeploymentId(),
		Generation:   of.GetGeneration(),
		Release:      of.GetRelease(),
		Time:         timestamppb.New(of.GetTime().AsTime()),
		Level:        agentv1.EventLevel_EVENT_LEVEL_WARN,
	}}
}

func (q *queue) measure() {
	q.bytes = 0
	for _, it := range q.items {
		q.bytes += proto.Size(it.event)
	}
}
