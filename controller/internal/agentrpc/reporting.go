package agentrpc

import (
	"context"
	"slices"
	"sync"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/specpb"
)

// reporting is a session's way to the recorder, and the answers on their way
// back to the agent.
type reporting struct {
	session *session
	line    *report.Line

	mu sync.Mutex
	// sequence and fact are to be told; telling is set while somebody does,
	// taking while the handler hands a report on, and tells itself what is
	// committed by then.
	sequence, fact        uint64
	news, telling, taking bool
}

// report begins the session's reporting; the line's Close ends it.
func (x *session) report() *reporting {
	r := &reporting{session: x}
	r.line = x.server.Recorder.Open(x.Session, r)
	return r
}

// Committed has the agent told what is committed. Nobody waits for that: an
// agent that takes nothing must not hold up the others' answers.
func (r *reporting) Committed(sequence, fact uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence, r.fact, r.news = max(r.sequence, sequence), max(r.fact, fact), true
	if !r.telling && !r.taking {
		r.telling = true
		go r.tell() // ends with the session at the latest
	}
}

// tell sends the newest answer until there is no newer one.
func (r *reporting) tell() {
	for {
		r.mu.Lock()
		if !r.news {
			r.telling = false
			r.mu.Unlock()
			return
		}
		r.news = false
		ack := committed{r.sequence, r.fact}
		r.mu.Unlock()
		// When it fails, the session is over, and its handler knows why.
		_ = r.session.sendMessage(&ack)
	}
}

// Refused ends the session.
func (r *reporting) Refused(err error) { r.session.End(err) }

// take hands a report on. It is acknowledged once it is committed.
func (r *reporting) take(ctx context.Context, p *agentv1.StatusReport) error {
	if err := specpb.CheckReport(p); err != nil {
		return err
	}
	told, err := reportFrom(p)
	if err != nil {
		return err
	}
	return r.hand(ctx, told)
}

// again hands on that the list of containers is the one of the report before.
func (r *reporting) again(ctx context.Context, sequence uint64) error {
	return r.hand(ctx, report.Report{Sequence: sequence})
}

// hand hands a report on. Most say nothing new and are committed at once: then
// the answer needs no goroutine.
func (r *reporting) hand(ctx context.Context, told report.Report) error {
	r.mu.Lock()
	r.taking = true
	r.mu.Unlock()
	err := r.line.Report(ctx, told)
	r.mu.Lock()
	r.taking = false
	tell := r.news && !r.telling
	r.telling = r.telling || tell
	r.mu.Unlock()
	if tell {
		r.tell()
	}
	return err
}

// acknowledge notes which set the agent holds, or why it refused one.
func (r *reporting) acknowledge(generation uint64, hash, refusal string) error {
	return r.line.Acknowledge(report.Acknowledgement{Generation: generation, Hash: clean(hash, maxInfoBytes), Refusal: refusal})
}

// finished keeps a command's result, and tells the agent that it may forget it.
func (x *session) finished(ctx context.Context, p *agentv1.CommandResult) error {
	err := x.server.Agents.Within(x.server.reserve(ctx), x.Session, func(ctx context.Context) error {
		return x.server.Commands.Finish(ctx, x.NodeID, resultFrom(p))
	})
	if err != nil || !x.keepsResults {
		return err
	}
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_CommandResultAck{
		CommandResultAck: &agentv1.CommandResultAck{Id: p.GetId()},
	}})
}

func announced(hello *agentv1.Hello, capability string) bool {
	return slices.Contains(hello.GetCapabilities(), capability)
}

// reportingCapabilities are those of what this file and command do.
func reportingCapabilities() []string {
	return []string{protocol.Spool, protocol.CommandAck, protocol.Inspect, protocol.Plan, protocol.Digests}
}
