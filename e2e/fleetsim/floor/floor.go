// Package floor is the least a controller can be: a tuned gRPC server over
// mutual TLS that signs whoever asks, welcomes, echoes heartbeats and
// acknowledges reports, and remembers nothing. What it costs is the floor that
// the controller's figures are compared with.
package floor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

const (
	window     = 64 << 10
	readBuffer = 1 << 10
	lifetime   = 24 * time.Hour
	keepAlive  = 15 * time.Second
)

// Server is the floor.
type Server struct {
	agentv1.UnimplementedEnrolmentServiceServer
	agentv1.UnimplementedSessionServiceServer
	authority *pki.Authority
	heartbeat time.Duration
	grpc      *grpc.Server
	agents    atomic.Int64

	mu       sync.Mutex
	sessions map[*session]struct{}
	// revision counts the sets that everybody was sent.
	revision uint64
}

// session is an agent's stream. Its handler and Revise send on it.
type session struct {
	mu     sync.Mutex
	stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]
}

func (x *session) send(m *agentv1.ControllerMessage) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream.Send(m)
}

// New returns a server that asks for heartbeats with a period.
func New(authority *pki.Authority, heartbeat time.Duration) (*Server, error) {
	own, err := authority.Server(time.Now(), time.Now().Add(lifetime))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AddCert(authority.Root)
	s := &Server{authority: authority, heartbeat: heartbeat, sessions: map[*session]struct{}{}}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients, SessionTicketsDisabled: true,
		})),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window), grpc.ReadBufferSize(readBuffer),
		grpc.MaxRecvMsgSize(specpb.MaxMessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAlive}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	agentv1.RegisterEnrolmentServiceServer(s.grpc, s)
	agentv1.RegisterSessionServiceServer(s.grpc, s)
	return s, nil
}

// Pin is of the server's root.
func (s *Server) Pin() pki.Pin { return pki.PinOf(s.authority.Root) }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the floor: %w", err)
	}
	return nil
}

// Enrol signs.
func (s *Server) Enrol(_ context.Context, r *agentv1.EnrolRequest) (*agentv1.EnrolResponse, error) {
	key, err := pki.RequestKey(r.GetCertificateRequest())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	id := "agent-" + strconv.FormatInt(s.agents.Add(1), 10)
	now := time.Now()
	chain, err := s.authority.Agent(id, key, now.Add(-pki.Skew), now.Add(lifetime))
	if err != nil {
		return nil, err
	}
	return &agentv1.EnrolResponse{CertificateChain: chain, AgentId: id, NodeId: "node-" + id, NodeName: id}, nil
}

// Session welcomes, echoes and acknowledges.
func (s *Server) Session(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return status.Error(codes.InvalidArgument, "no hello")
	}
	x := &session{stream: stream}
	s.mu.Lock()
	s.sessions[x] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, x)
	}()
	err = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: &agentv1.Welcome{
		Protocol: 1, Epoch: 1, HeartbeatPeriodMs: uint32(s.heartbeat.Milliseconds()),
	}}})
	for err == nil {
		var m *agentv1.AgentMessage
		if m, err = stream.Recv(); err != nil {
			break
		}
		switch body := m.GetBody().(type) {
		case *agentv1.AgentMessage_Heartbeat:
			err = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_HeartbeatAck{
				HeartbeatAck: &agentv1.HeartbeatAck{Sequence: body.Heartbeat.GetSequence()},
			}})
		case *agentv1.AgentMessage_Status:
			err = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_StatusAck{
				StatusAck: &agentv1.StatusAck{Sequence: body.Status.GetSequence()},
			}})
		case *agentv1.AgentMessage_Leaving:
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Revise sends every agent a set of one small deployment, as a roll-out does.
// What they answer is read and forgotten.
func (s *Server) Revise() {
	s.mu.Lock()
	s.revision++
	set := revision(s.revision)
	all := make([]*session, 0, len(s.sessions))
	for x := range s.sessions {
		all = append(all, x)
	}
	s.mu.Unlock()
	for _, x := range all {
		// When it fails the session is over, and its handler knows why.
		_ = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Assignments{Assignments: set}})
	}
}

// revision is about as long as what the bench's deployments come to.
func revision(n uint64) *agentv1.AssignmentSet {
	name := "web"
	set := &agentv1.AssignmentSet{
		Lineage: "floor", Generation: n,
		Assignments: []*agentv1.Assignment{{Prefix: "shop", Generation: n, Desired: &agentv1.Assignment_Deployment{
			Deployment: &agentv1.Deployment{
				Id: "5d2b6a52-3f0e-4c8e-9d0a-8a5b7f1f7a11", Release: int64(n),
				Workloads: []*agentv1.Workload{{
					InstanceId: "b3c1b0de-64a8-4f5c-8f0b-2b7f6d1a9c22",
					Image:      &agentv1.Image{Reference: "registry.example.org/shop/web:1"},
					Container:  &agentv1.ContainerConfig{Name: &name},
				}},
			},
		}}},
	}
	set.SetHash = specpb.SetHash(set)
	return set
}
