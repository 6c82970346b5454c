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
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/dispatch"
	"fairlead.dev/controller/internal/report"
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
	readBuffer = 1 << 10

	// A connection that says nothing for so long is asked whether it is there.
	// Sessions say something far more often; dispatch notices when they don't.
	pingEvery   = time.Minute
	pingTimeout = 10 * time.Second
	// leastPing is how often an agent may ask the same.
	leastPing = 5 * time.Second

	// sweepEvery is how often connections and greetings are looked over.
	sweepEvery = time.Second

	handshakeTimeout = 10 * time.Second
	// maxStreamsPerConnection has room for all the streams an agent may carry.
	maxStreamsPerConnection = 64
	// maxHeaderBytes of one call; agents send next to none.
	maxHeaderBytes = 16 << 10
)

// Config is what a Server needs.
type Config struct {
	Listener   net.Listener
	Authority  Authority
	Agents     *agent.Service
	Commands   *command.Service
	Recorder   *report.Recorder
	Dispatcher *dispatch.Dispatcher
	Log        *slog.Logger
	Now        func() time.Time
	// Remote reaches sessions of other replicas; nil when there are none.
	Remote dispatch.Remote
	// Limits bound what agents and strangers can cost; zero fields are the
	// defaults.
	Limits Limits
	// StopTimeout bounds how long Run waits for sessions to end.
	StopTimeout time.Duration
	// Trusted writes down which private roots agents said they trust.
	Trusted func(ctx context.Context, list []agent.Trust) error
	// Sessions is told when the number of open sessions changes.
	Sessions func(open int)
	// Reserve returns a context for what sessions want stored, so that it does
	// not wait behind requests of the API; nil when nothing does.
	Reserve func(ctx context.Context) context.Context
	// Accepts returns why no session may begin now, or nil; nil when there is
	// never a reason.
	Accepts func() error
	// Broker asks agents for streams, Streams takes what they carry, Library is
	// what they fetch from.
	Broker  *bulk.Broker
	Streams Streams
	Library Library
	// Updates takes what agents say of being replaced; nil for nobody.
	Updates Updates
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

	began     time.Time
	conns     *conns
	admission *admission
	gate      *gate
	noted     *noted

	mu sync.Mutex
	// greeting are the calls that wait for a hello, one for each agent.
	greeting map[uuid.UUID]*greeting
	all      atomic.Int64
	// stopping ends when sessions should.
	stopping context.Context
	stop     context.CancelFunc
}

// New returns a server that serves once Run is called.
func New(c Config) *Server {
	c.Limits = c.Limits.withDefaults()
	s := &Server{
		Config: c, log: c.Log.With(logging.KeyComponent, "agentrpc"), began: time.Now(),
		admission: newAdmission(c.Limits, c.Now), gate: newGate(c.Limits, c.Now), noted: newNoted(c.Now),
		greeting: map[uuid.UUID]*greeting{},
	}
	s.conns = newConns(c.Limits, s.clock)
	s.trusts = newTrusts(c.Authority, c.Trusted, c.Now, s.log)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(newCredentials(c.Authority, c.Now)),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(readBuffer),
		grpc.MaxRecvMsgSize(specpb.MaxMessageBytes), grpc.MaxConcurrentStreams(maxStreamsPerConnection),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true}),
		grpc.ForceServerCodecV2(newCodec()),
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
	go func() { served <- s.grpc.Serve(listener{s.Listener, s.conns}) }()
	if err := s.look(ctx, served); err != nil {
		return err
	}
	s.stop()
	s.Dispatcher.EndAll(errServerStops)
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

// look looks over connections and greetings until ctx ends, or until serving
// does, which is an error.
func (s *Server) look(ctx context.Context, served <-chan error) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve agents: %w", err)
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.conns.sweep()
			s.endGreetings()
		}
	}
}

// reserve is Reserve, if there is one.
func (s *Server) reserve(ctx context.Context) context.Context {
	if s.Reserve == nil {
		return ctx
	}
	return s.Reserve(ctx)
}

// clock is one that never jumps.
func (s *Server) clock() time.Duration { return time.Since(s.began) }

func (s *Server) count(by int64) {
	n := s.all.Add(by)
	if s.Sessions != nil {
		s.Sessions(int(n))
	}
}
