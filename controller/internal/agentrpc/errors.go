package agentrpc

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// codeOf maps kinds of errors to gRPC, once for this edge.
func codeOf(kind apperr.Kind) codes.Code {
	switch kind {
	case apperr.Invalid:
		return codes.InvalidArgument
	case apperr.Unauthenticated:
		return codes.Unauthenticated
	case apperr.Forbidden:
		return codes.PermissionDenied
	case apperr.NotFound:
		return codes.NotFound
	case apperr.Conflict:
		return codes.AlreadyExists
	case apperr.Precondition:
		return codes.FailedPrecondition
	case apperr.Unavailable:
		return codes.Unavailable
	case apperr.Unsupported:
		return codes.Unimplemented
	case apperr.TooMany:
		return codes.ResourceExhausted
	default:
		return codes.Internal
	}
}

// refusalOf maps the reasons that agents act on.
func refusalOf(reason string) agentv1.RefusalReason {
	switch reason {
	case agent.ReasonTokenUnknown:
		return agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN
	case agent.ReasonTokenUsed:
		return agentv1.RefusalReason_REFUSAL_REASON_TOKEN_USED
	case agent.ReasonTokenExpired:
		return agentv1.RefusalReason_REFUSAL_REASON_TOKEN_EXPIRED
	case agent.ReasonRevoked:
		return agentv1.RefusalReason_REFUSAL_REASON_REVOKED
	case agent.ReasonReplaced:
		return agentv1.RefusalReason_REFUSAL_REASON_REPLACED
	case agent.ReasonCloned:
		return agentv1.RefusalReason_REFUSAL_REASON_CLONED
	case reasonProtocol:
		return agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL
	case reasonBusy:
		return agentv1.RefusalReason_REFUSAL_REASON_BUSY
	default:
		return agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED
	}
}

// Reasons that only this edge gives.
const (
	reasonProtocol = "protocol"
	reasonBusy     = "busy"
)

// toStatus turns an error into what the agent is told. Our own faults are
// logged here, once, and not shown.
func toStatus(log *slog.Logger, err error) error {
	if err == nil {
		return nil
	}
	var e *apperr.Error
	if !errors.As(err, &e) {
		if s, isStatus := status.FromError(err); isStatus {
			return s.Err()
		}
		if errors.Is(err, context.Canceled) {
			return status.Error(codes.Canceled, "the connection ended")
		}
		log.Error("agent call failed", logging.KeyError, err)
		return status.Error(codes.Internal, "something went wrong on the controller's side; its log says more")
	}
	if e.Kind == apperr.Internal {
		log.Error("agent call failed", logging.KeyError, err)
		return status.Error(codes.Internal, "something went wrong on the controller's side; its log says more")
	}
	message := e.Message
	if e.Field != "" {
		message = e.Field + ": " + message
	}
	s := status.New(codeOf(e.Kind), message)
	if reason := refusalOf(e.Reason); reason != agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED {
		if detailed, err := s.WithDetails(&agentv1.Refusal{Reason: reason, RetryAfterMs: retryAfter(err, e.Reason), Deletion: deletionOf(err)}); err == nil {
			s = detailed
		}
	}
	return s.Err()
}

// retryAfter returns how long the agent is told to wait, in milliseconds; 0 for
// its own back-off.
func retryAfter(err error, reason string) uint32 {
	var l *later
	switch {
	case errors.As(err, &l):
		return uint32(l.after.Milliseconds())
	case reason == agent.ReasonCloned:
		return uint32(agent.CloneRetry.Milliseconds())
	default:
		return 0
	}
}

func (s *Server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	defer s.caught(&err)
	if c := connOf(ctx); c != nil {
		defer c.begin()()
	}
	reply, err = handler(ctx, req)
	return reply, toStatus(s.log, err)
}

func (s *Server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.caught(&err)
	if c := connOf(stream.Context()); c != nil {
		defer c.begin()()
	}
	return toStatus(s.log, handler(srv, stream))
}

// caught turns a panic into an error of that one call.
func (s *Server) caught(err *error) {
	if p := recover(); p != nil {
		s.log.Error("an agent call panicked", "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "something went wrong on the controller's side; its log says more")
	}
}
