package agentrt

import (
	"context"
	"errors"
	"fmt"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
)

// proveTimeout bounds one attempt of a new agent to prove itself.
const proveTimeout = 20 * time.Second

// prove shows, beside the agent that serves, that this one can: it reads the
// state, reaches the engine and the controller, and has work echoed. It returns
// once it is to take over, and changes nothing but the proof it leaves.
func (a *Agent) prove(ctx context.Context, update state.Update) error {
	for proven := false; ; {
		if !proven {
			err := a.proveOnce(ctx)
			if err == nil {
				err = a.leaveProof(ctx, update.ID)
			}
			if proven = err == nil; proven {
				a.config.Log.Info("this agent has proven itself and waits to take over", "version", a.config.Version)
			} else {
				a.config.Log.Warn("this agent could not prove itself yet", logging.KeyError, err)
			}
		}
		if !backoff.Sleep(ctx, a.lookEvery()) {
			return nil
		}
		now, err := a.readUpdate(ctx)
		if apperr.Is(err, apperr.Unavailable) {
			continue // what is shared is away for a moment
		}
		if err != nil {
			return err
		}
		switch roleIn(now, update.ID) {
		case proving:
		case takingOver:
			return nil
		default:
			return errRejected(now)
		}
	}
}

func (a *Agent) proveOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	found, err := state.Inspect(a.config.StateDir)
	if err != nil {
		return fmt.Errorf("read the agent's state: %w", err)
	}
	if !found.Enrolled {
		return apperr.New(apperr.Precondition, "there is no identity in the state folder")
	}
	if _, err := a.config.Driver.Info(ctx); err != nil {
		return fmt.Errorf("ask the engine about itself: %w", err)
	}
	if _, err := a.config.Driver.List(ctx); err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	return a.proveLink(ctx, found.Identity)
}

// proveLink has a piece of work echoed by the controller.
func (a *Agent) proveLink(ctx context.Context, identity state.Identity) error {
	conn, err := a.dial(identity.Controller, pki.AgentTLS(identity.Trust, identity.Own, a.config.Now))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := agentv1.NewSessionServiceClient(conn).Prove(ctx)
	if err != nil {
		return fmt.Errorf("reach the controller: %w", err)
	}
	hello := &agentv1.Hello{
		ProtocolMin: protocol.VersionMin, ProtocolMax: protocol.VersionMax, Capabilities: a.capabilities(),
		Agent: a.info(ctx), BootId: a.bootID,
	}
	const sequence = 1
	err = errors.Join(
		stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: hello}}),
		stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: sequence}}}),
		stream.CloseSend(),
	)
	first, receiveErr := stream.Recv() // also tells why sending failed
	if receiveErr != nil {
		return fmt.Errorf("be welcomed by the controller: %w", receiveErr)
	}
	if err != nil {
		return fmt.Errorf("say hello to the controller: %w", err)
	}
	if chosen := first.GetWelcome().GetProtocol(); chosen < protocol.VersionMin || chosen > protocol.VersionMax {
		return apperr.New(apperr.Unsupported, "the controller chose protocol %d, this agent speaks %d to %d", chosen, protocol.VersionMin, protocol.VersionMax)
	}
	echo, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("have work echoed by the controller: %w", err)
	}
	if echo.GetHeartbeatAck().GetSequence() != sequence {
		return errors.New("the controller echoed something else than it was sent")
	}
	return nil
}
