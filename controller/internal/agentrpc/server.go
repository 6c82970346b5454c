// Package agentrpc is the edge where agents connect: gRPC over TLS, always.
// Who an agent is comes from its verified certificate and from nothing it
// says. Decisions are the services'; this package converts and forwards.
package agentrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/dispatch"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/specpb"
)

// Numbers of the protocol this server speaks and of its connections.
const (
	ProtocolMin = 1
	ProtocolMax = 1

	// window is a static flow-control window: without bandwidth estimation,
	// an idle agent costs less memory and a heartbeat less work.
	window = 64 << 10
	// readBuffer is small because TLS buffers as well.
	readBuffer = 4 << 10

	// An agent whose network vanished without a word is noticed after both.
	pingEvery   = 15 * time.Second
	pingTimeout = 5 * time.Second

	handshakeTimeout = 10 * time.Second
	// maxStreamsPerConnection has room for all the streams an agent may carry.
	maxStreamsPerConnection = 64
)

// Config is what a Server needs.
type Config struct {
	Listener   net.Listener
	Authority  Authority
	Agents     *agent.Service
	Commands   *command.Service
	Dispatcher *dispatch.Dispatcher
	Log        *slog.Logger
	Now        func() time.Time
	// EnrolAllowed tells whether an address may try to enrol now, and if not,
	// how long it should wait.
	EnrolAllowed func(address string) (bool, time.Duration)
	// StopTimeout bounds how long Run waits for sessions to end.
	StopTimeout time.Duration
	// Trusted writes down which private roots agents said they trust.
	Trusted func(ctx context.Context, list []agent.Trust) error
	// Sessions is told when the number of open sessions changes.
	Sessions func(open int)
	// Broker asks agents for streams, Streams takes what they carry, Library is
	// what they fetch from.
	Broker  *bulk.Broker
	Streams Streams
	Library Library
	// Register adds what else is served on the listener; may be nil.
	Register func(grpc.ServiceRegistrar)
}

// Server takes agents' connections.
type Server struct {
	agentv1.UnimplementedEnrolmentServiceServer
	agentv1.UnimplementedSessionServiceServer
	agentv1.UnimplementedBulkServiceServer
	Config
	log    *slog.Logger
	grpc   *grpc.Server
	trusts *trusts

	mu   sync.Mutex
	open map[uuid.UUID]int
	all  int
	// stopping ends when sessions should.
	stopping context.Context
	stop     context.CancelFunc
}

// New returns a server that serves once Run is called.
func New(c Config) *Server {
	s := &Server{Config: c, log: c.Log.With(logging.KeyComponent, "agentrpc"), open: map[uuid.UUID]int{}}
	s.trusts = newTrusts(c.Authority, c.Trusted, c.Now, s.log)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(newCredentials(c.Authority, c.Now)),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(readBuffer),
		grpc.MaxRecvMsgSize(specpb.MaxMessageBytes), grpc.MaxConcurrentStreams(maxStreamsPerConnection),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingTimeout, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream),
	)
	agentv1.RegisterEnrolmentServiceServer(s.grpc, s)
	agentv1.RegisterSessionServiceServer(s.grpc, s)
	agentv1.RegisterBulkServiceServer(s.grpc, s)
	if c.Register != nil {
		c.Register(s.grpc)
	}
	return s
}

// Run serves until ctx ends, then tells every agent to come back, waits for
// the sessions to end within the stop timeout, and cuts the rest.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	trusting, stopTrusting := context.WithCancel(context.WithoutCancel(ctx)) // until the last session ended
	var kept sync.WaitGroup
	kept.Go(func() { s.trusts.run(trusting) })
	defer kept.Wait()
	defer stopTrusting()
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve agents: %w", err)
	case <-ctx.Done():
	}
	s.stop()
	graceful := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(graceful)
	}()
	deadline := time.NewTimer(s.StopTimeout)
	defer deadline.Stop()
	select {
	case <-graceful:
	case <-deadline.C:
		s.log.Warn("agents' sessions were cut at the stop deadline")
		s.grpc.Stop()
		<-graceful
	}
	return serveEnd(<-served)
}

// serveEnd leaves out the error that says the server was stopped as asked.
func serveEnd(err error) error {
	if err == nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return fmt.Errorf("serve agents: %w", err)
}

func (s *Server) count(agentID uuid.UUID, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all += by
	if s.open[agentID] += by; s.open[agentID] == 0 {
		delete(s.open, agentID)
	}
	if s.Sessions != nil {
		s.Sessions(s.all)
	}
}
