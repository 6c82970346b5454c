package agentrpc

import (
	"crypto/ecdsa"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/seal"
)

// greeting is a call that waits for a hello.
type greeting struct {
	*call
	since time.Duration
}

// open lets an agent in if there is room, takes its hello and begins its
// session.
func (s *Server) open(stream sessionStream, agentID uuid.UUID, key *ecdsa.PublicKey) (*session, *agentv1.Hello, error) {
	ctx := stream.Context()
	if s.stopping.Err() != nil {
		return nil, nil, errServerStops
	}
	if err := s.accepts(); err != nil {
		return nil, nil, err
	}
	if wait := s.admission.enter(agentID); wait > 0 {
		return nil, nil, busy(wait, "many agents connect at once; come back in %s", wait.Round(time.Second))
	}
	defer s.admission.leave()
	c := s.newCall(ctx)
	hello, err := s.receiveHello(stream, agentID, c)
	if err != nil {
		return nil, nil, err
	}
	late := time.AfterFunc(openPatience, func() {
		if err := s.accepts(); err != nil {
			c.end(err) // what waits for the database is not waited for
		}
	})
	defer late.Stop()
	opened, err := s.Agents.Open(s.reserve(ctx), agent.OpenCommand{
		AgentID: agentID, Key: key, BootID: hello.GetBootId(), Capabilities: cleaned(hello.GetCapabilities()),
		Info: infoFrom(hello.GetAgent(), peerAddress(ctx)),
	}, s.Dispatcher.Asker(s.Remote))
	if err != nil {
		return nil, nil, err
	}
	if key := hello.GetSealingKey(); key != "" {
		if err := s.Agents.KeepSealingKey(ctx, opened, key); err != nil {
			s.Dispatcher.Close(ctx, opened, agent.End{})
			return nil, nil, err
		}
	}
	return &session{
		Session: opened, call: c, server: s, stream: stream, canPing: canPing(hello),
	}, hello, nil
}

// maxCapabilities bounds how many names are kept.
const maxCapabilities = 32

func cleaned(names []string) []string {
	list := make([]string, 0, min(len(names), maxCapabilities))
	for _, name := range names[:min(len(names), maxCapabilities)] {
		list = append(list, clean(name, 32))
	}
	return list
}

// receiveHello takes the first message, which must be a Hello in a common
// protocol version, and come soon. An agent that begins another call meanwhile
// ends this one.
func (s *Server) receiveHello(stream sessionStream, agentID uuid.UUID, c *call) (*agentv1.Hello, error) {
	g := &greeting{call: c, since: s.clock()}
	s.mu.Lock()
	if other := s.greeting[agentID]; other != nil {
		other.end(apperr.New(apperr.Invalid, "another call of this agent began before this one said hello"))
	}
	s.greeting[agentID] = g
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.greeting[agentID] == g {
			delete(s.greeting, agentID)
		}
	}()
	first, err := stream.Recv()
	if err != nil {
		return nil, c.ended(err)
	}
	hello := first.GetHello()
	switch {
	case hello == nil:
		return nil, apperr.New(apperr.Invalid, "the first message must be a hello")
	case hello.GetBootId() == "" || len(hello.GetBootId()) > maxInfoBytes || clean(hello.GetBootId(), maxInfoBytes) != hello.GetBootId():
		return nil, apperr.InvalidField("boot_id", nil, "must be 1 to %d characters", maxInfoBytes)
	case hello.GetProtocolMin() > ProtocolMax || hello.GetProtocolMax() < ProtocolMin:
		return nil, apperr.New(apperr.Precondition,
			"the agent speaks protocol %d to %d, this controller %d to %d; update the older of the two",
			hello.GetProtocolMin(), hello.GetProtocolMax(), ProtocolMin, ProtocolMax).WithReason(reasonProtocol)
	}
	if key := hello.GetSealingKey(); key != "" {
		if err := seal.CheckPublic(key); err != nil {
			return nil, err
		}
	}
	return hello, nil
}

// endGreetings ends the calls that have been waiting for a hello too long.
func (s *Server) endGreetings() {
	now := s.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.greeting {
		if now-g.since >= s.Limits.HelloTimeout {
			g.end(apperr.New(apperr.Invalid, "no hello within %s", s.Limits.HelloTimeout))
		}
	}
}
