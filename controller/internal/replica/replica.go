// Package replica is how the controllers on one database speak to each other:
// gRPC over TLS on the agents' listener, with certificates that name a replica
// and that only who has the root's key can make. Deployments need none of it;
// it carries what cannot wait in a table: logs, terminals and pings of sessions
// that another replica has, and whether that replica has its database.
package replica

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/bulk"
	replicav1 "fairlead.dev/protobuf/gen/fairlead/replica/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

// Peer is another replica.
type Peer struct {
	// ID is its row's, Address what to dial.
	ID      string
	Name    string
	Address string
}

// Health is what a replica can do now.
type Health struct {
	// Database: its own connections to PostgreSQL work.
	Database bool
	// Accepting: it takes new sessions.
	Accepting bool
}

// caller returns the id of the replica that calls. An agent is none.
func caller(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", apperr.New(apperr.Unauthenticated, "the connection carries no replica's certificate")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", apperr.New(apperr.Unauthenticated, "the connection is not over TLS")
	}
	return pki.PeerReplica(info.State)
}

// toStatus puts an error of a call into the words that fromStatus understands.
// What is no error of the domain is logged here, once, and said without its
// text.
func toStatus(ctx context.Context, log *slog.Logger, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // nobody hears the answer, and the error follows from that
		return status.FromContextError(ctx.Err()).Err()
	}
	var e *apperr.Error
	if !errors.As(err, &e) {
		if s, isStatus := status.FromError(err); isStatus {
			return s.Err()
		}
		log.Error("a call of another controller failed", logging.KeyError, err)
		e = apperr.New(apperr.Internal, "something went wrong at the other controller; its log says more")
	}
	code := codes.Unknown
	switch e.Kind {
	case apperr.Unauthenticated:
		code = codes.Unauthenticated
	case apperr.NotFound:
		code = codes.NotFound
	case apperr.Precondition:
		code = codes.FailedPrecondition
	default: // the kind is in the detail
	}
	s := status.New(code, e.Message)
	detailed, detailErr := s.WithDetails(&replicav1.Fault{Kind: e.Kind.String(), Reason: e.Reason})
	if detailErr != nil {
		return s.Err()
	}
	return detailed.Err()
}

// fromStatus is the error that another replica answered with, or that it did
// not answer.
func fromStatus(err error) error {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if f, ok := detail.(*replicav1.Fault); ok {
			return apperr.New(specpb.KindFromProto(f.GetKind()), "%s", s.Message()).WithReason(f.GetReason())
		}
	}
	return apperr.Wrap(apperr.Unavailable, err, "the controller that holds the node's connection does not answer").WithReason(bulk.ReasonPeerAway)
}
