package agentrt

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/protocol"
)

const (
	// gather is how long statuses and events are gathered into one report.
	gather = 100 * time.Millisecond
	// farewell bounds how long a leaving agent tells what it still has.
	farewell = 5 * time.Second
)

// sender writes one session's stream, one message at a time: pongs first, then
// acknowledgements, heartbeats, command results, and reports when nothing else
// waits.
type sender struct {
	*session
	beat    *time.Ticker
	beats   uint64
	results []*agentv1.CommandResult
	reports []*agentv1.StatusReport
	// flush ends the gathering of a report; nil when none is gathered.
	flush <-chan time.Time
	// bye is closed when a leaving agent must not wait any longer; nil until
	// it leaves.
	bye <-chan time.Time
}

// send writes until ctx ends or the agent has left.
func (s *session) send(ctx, leave context.Context) error {
	w := &sender{
		session: s,
		beat:    time.NewTicker(s.period),
		flush:   time.After(gather),
		reports: s.link.outbox.Unacked(), // an earlier session may have lost them
	}
	defer w.beat.Stop()
	w.takeResults()
	err := w.heartbeat() // the first echo proves the whole way
	leaving := leave.Done()
	for err == nil {
		if w.bye != nil && len(w.results) == 0 && w.link.outbox.Empty() {
			return w.goodbye(ctx)
		}
		err = w.next(ctx, &leaving)
	}
	if errors.Is(err, io.EOF) { // the reader knows why
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// next sends the most urgent message, or waits for one.
func (w *sender) next(ctx context.Context, leaving *<-chan struct{}) error {
	select {
	case nonce := <-w.pongs:
		return w.pong(nonce)
	default:
	}
	select {
	case m := <-w.urgent:
		return w.stream.Send(m)
	default:
	}
	select {
	case <-w.beat.C:
		return w.heartbeat()
	default:
	}
	switch {
	case len(w.results) > 0:
		return w.result()
	case len(w.reports) > 0:
		return w.report()
	}
	return w.wait(ctx, leaving)
}

// wait waits for something to send or to get ready.
func (w *sender) wait(ctx context.Context, leaving *<-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case nonce := <-w.pongs:
		return w.pong(nonce)
	case m := <-w.urgent:
		return w.stream.Send(m)
	case <-w.beat.C:
		return w.heartbeat()
	case <-w.link.commands.Ready():
		w.takeResults()
	case <-w.link.updates.changed:
		return w.update()
	case <-w.link.outbox.Ready():
		w.gather()
	case <-w.flush:
		w.cut()
	case <-*leaving:
		*leaving = nil
		w.bye = time.After(farewell)
		w.cut()
		w.takeResults()
	case <-w.bye:
		return w.goodbye(ctx)
	}
	return nil
}

// gather waits a moment for more to say, unless there is enough already or no
// time to wait.
func (w *sender) gather() {
	if w.bye != nil || w.link.outbox.Waiting() >= outbox.MaxItems {
		w.cut()
		return
	}
	if w.flush == nil {
		w.flush = time.After(gather)
	}
}

func (w *sender) cut() {
	w.flush = nil
	for r := w.link.outbox.Cut(); r != nil; r = w.link.outbox.Cut() {
		w.reports = append(w.reports, r)
	}
}

func (w *sender) report() error {
	first := w.reports[0]
	w.reports = w.reports[1:]
	if !w.peer[protocol.Digests] {
		first = withoutDigests(first)
	}
	return w.stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: first}})
}

// withoutDigests returns the report for a controller that takes no digests; it
// is left as it is for one that does.
func withoutDigests(report *agentv1.StatusReport) *agentv1.StatusReport {
	told := func(s *agentv1.DeploymentStatus) bool { return len(s.GetImages()) > 0 }
	spoke := func(e *agentv1.DeploymentEvent) bool { return e.GetDigest() != "" }
	if !slices.ContainsFunc(report.GetDeployments(), told) && !slices.ContainsFunc(report.GetEvents(), spoke) {
		return report
	}
	report = proto.CloneOf(report)
	for _, s := range report.GetDeployments() {
		s.Images = nil
	}
	for _, e := range report.GetEvents() {
		e.Digest = ""
	}
	return report
}

func (w *sender) heartbeat() error {
	w.beats++
	return w.stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: w.beats}}})
}

func (w *sender) pong(nonce uint64) error {
	return w.stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Pong{Pong: &agentv1.Pong{Nonce: nonce}}})
}

// update tells where the agent's update stands.
func (w *sender) update() error {
	if !w.peer[protocol.Update] {
		return nil
	}
	return w.stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Update{Update: w.link.updates.status()}})
}

func (w *sender) takeResults() { w.results = append(w.results, w.link.commands.Take()...) }

// result sends a result; the controller asks again for what it did not get.
func (w *sender) result() error {
	first := w.results[0]
	w.results = w.results[1:]
	return w.stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_CommandResult{CommandResult: first}})
}

// goodbye says that the agent leaves, and gives the words time to arrive.
func (w *sender) goodbye(ctx context.Context) error {
	w.leaving.Store(true)
	if w.link.updates.handing.Load() { // the new agent is about to come in this one's place
		if errors.Join(w.update(), w.stream.CloseSend()) == nil && !backoff.Sleep(ctx, farewell) {
			return ctx.Err()
		}
		return errLeft
	}
	leaving := &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Leaving{Leaving: &agentv1.Leaving{Reason: "the agent stops"}}}
	if err := errors.Join(w.stream.Send(leaving), w.stream.CloseSend()); err != nil {
		return errLeft
	}
	if backoff.Sleep(ctx, farewell) {
		return errLeft
	}
	return ctx.Err() // the reader saw the controller hang up
}

// adopt takes the controller's numbers.
func adopt(l *link, b *agentv1.Backoff) {
	l.pauses.Adopt(backoff.Policy{
		Base: time.Duration(b.GetBaseMs()) * time.Millisecond,
		Cap:  time.Duration(b.GetCapMs()) * time.Millisecond,
	})
	if ms := b.GetResetAfterMs(); ms > 0 {
		l.resetAfter = time.Duration(ms) * time.Millisecond
	}
}
