package agentrt

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/reach"
	"fairlead.dev/shared/specpb"
)

const (
	// windowBytes are fixed, which turns the pings of the bandwidth estimator
	// off; sessions carry little.
	windowBytes = 64 << 10
	// readBufferBytes is small: TLS has a buffer of its own.
	readBufferBytes  = 4 << 10
	keepalivePeriod  = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// dial returns a connection that is made when it is first used. Calls that
// fail on the way fail with a *reach.Problem.
func (a *Agent) dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	path := reach.To(address, config.Time)
	options := append(path.Options(config),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithReadBufferSize(readBufferBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepalivePeriod, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(specpb.MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
	)
	if a.config.Dial != nil {
		options = append(options, grpc.WithContextDialer(a.config.Dial))
	}
	conn, err := grpc.NewClient(path.Target(), options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn, nil
}

// refusal is a call that the controller refused, with a reason to act on.
type refusal struct {
	reason     agentv1.RefusalReason
	retryAfter time.Duration
	// deletion is set when the agent's node was deleted.
	deletion *agentv1.NodeDeletion
	err      error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// understand finds the refusal in an error of a call; other errors it returns
// as they are.
func understand(err error) error {
	if err == nil {
		return nil
	}
	var already *refusal
	if errors.As(err, &already) {
		return err
	}
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*agentv1.Refusal); ok {
			return &refusal{
				reason:     r.GetReason(),
				retryAfter: time.Duration(r.GetRetryAfterMs()) * time.Millisecond,
				deletion:   r.GetDeletion(),
				err:        errors.New(status.Convert(err).Message()),
			}
		}
	}
	return err
}
