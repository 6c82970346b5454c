// Package agentrttest is a controller for tests of agents: the real protocol
// over real TLS on the loopback, with every answer in the test's hands.
package agentrttest

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

const serverLifetime = 30 * 24 * time.Hour

// Patience is how long a test waits for what must come.
const Patience = time.Minute

// Controller is a scripted controller. Tokens are accepted once, and again
// from the key that used them.
type Controller struct {
	agentv1.UnimplementedEnrolmentServiceServer
	agentv1.UnimplementedSessionServiceServer
	agentv1.UnimplementedBulkServiceServer

	Authority *pki.Authority
	listener  *cuttable
	sessions  chan *Session
	carries   chan *Carry

	mu       sync.Mutex
	agents   int
	tokens   map[string]string // token to fingerprint of the key that used it
	refused  map[string]agentv1.RefusalReason
	losses   int // answers to Enrol that get lost
	lifetime func() (notBefore, notAfter time.Time)
	server   *tls.Certificate
	renewed  int
	// keys has the fingerprint of each agent's key, recovered how many agents
	// came back with an expired certificate.
	keys      map[string]string
	recovered int
	artifacts map[string][]byte
	// refuseProofs turns new agents away.
	refuseProofs bool
	// ahead is how far this controller's clock is ahead of the machine's.
	ahead time.Duration
}

// Start starts a controller on the loopback that stops with the test.
func Start(t testing.TB) *Controller {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, listener)
}

func start(t testing.TB, listener net.Listener) *Controller {
	t.Helper()
	authority, err := pki.NewAuthority(time.Now().Add(-serverLifetime))
	if err != nil {
		t.Fatal(err)
	}
	// Good for agents whose clocks are days off.
	certificate, err := authority.Server(time.Now().Add(-serverLifetime), time.Now().Add(serverLifetime))
	if err != nil {
		t.Fatal(err)
	}
	c := &Controller{
		Authority: authority,
		listener:  &cuttable{Listener: listener},
		sessions:  make(chan *Session, 64),
		carries:   make(chan *Carry, carriesQueue),
		artifacts: map[string][]byte{},
		tokens:    map[string]string{},
		refused:   map[string]agentv1.RefusalReason{},
		keys:      map[string]string{},
		server:    certificate,
	}
	c.SetLifetime(-time.Minute, time.Hour)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(pki.ServerTLS([]*x509.Certificate{authority.Root}, c.serverCertificate, c.now))),
		grpc.StaticStreamWindowSize(64<<10),
		grpc.StaticConnWindowSize(64<<10),
		grpc.MaxRecvMsgSize(specpb.MaxMessageBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	agentv1.RegisterEnrolmentServiceServer(server, c)
	agentv1.RegisterSessionServiceServer(server, c)
	agentv1.RegisterBulkServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(c.listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// Addr is where agents connect to.
func (c *Controller) Addr() string { return c.listener.Addr().String() }

// Cut breaks every open connection, as a network does: without a word.
func (c *Controller) Cut() { c.listener.cut() }

// UseServerCertificate replaces the listener's certificate.
func (c *Controller) UseServerCertificate(certificate *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = certificate
}

func (c *Controller) serverCertificate([]string) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server, nil
}

// SetClock sets how far this controller's clock is ahead of the machine's. It
// judges and signs certificates by it.
func (c *Controller) SetClock(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

func (c *Controller) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// SetLifetime sets, relative to the moment of signing, from when to when the
// agents' certificates are valid.
func (c *Controller) SetLifetime(from, to time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lifetime = func() (time.Time, time.Time) {
		now := time.Now().Add(c.ahead)
		return now.Add(from), now.Add(to)
	}
}

// RefuseToken makes the controller refuse a token.
func (c *Controller) RefuseToken(token string, reason agentv1.RefusalReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[token] = reason
}

// LoseEnrolments loses the answers to the next n enrolments: the token is used
// up, but the agent does not hear of it.
func (c *Controller) LoseEnrolments(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.losses = n
}

// Enrolled returns how many agents were enrolled, and how many certificates
// were renewed.
func (c *Controller) Enrolled() (agents, renewals int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents, c.renewed
}

// WriteEnrolment writes the install script's file for an agent of this
// controller.
func (c *Controller) WriteEnrolment(t testing.TB, stateDir, token string) {
	t.Helper()
	content, err := json.Marshal(map[string]string{
		"controller": c.Addr(),
		"rootSha256": pki.PinOf(c.Authority.Root).String(),
		"token":      token,
		"nodeName":   "node",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stateDir, "enrol.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Refuse returns the status of a refused call.
func Refuse(code codes.Code, reason agentv1.RefusalReason, retryAfter time.Duration) error {
	s, err := status.New(code, reason.String()).WithDetails(&agentv1.Refusal{
		Reason:       reason,
		RetryAfterMs: uint32(retryAfter.Milliseconds()),
	})
	if err != nil {
		return err
	}
	return s.Err()
}

// Enrol answers an agent that has a token.
func (c *Controller) Enrol(_ context.Context, ask *agentv1.EnrolRequest) (*agentv1.EnrolResponse, error) {
	key, err := pki.RequestKey(ask.GetCertificateRequest())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	holder, err := pki.KeyFingerprint(key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason, ok := c.refused[ask.GetToken()]; ok {
		return nil, Refuse(codes.Unauthenticated, reason, 0)
	}
	by, used := c.tokens[ask.GetToken()]
	if used && by != holder {
		return nil, Refuse(codes.Unauthenticated, agentv1.RefusalReason_REFUSAL_REASON_TOKEN_USED, 0)
	}
	if !used {
		c.tokens[ask.GetToken()] = holder
		c.agents++
	}
	if c.losses > 0 {
		c.losses--
		return nil, status.Error(codes.Unavailable, "the answer got lost")
	}
	id := fmt.Sprintf("agent-%d", c.agents)
	chain, err := c.sign(id, key)
	if err != nil {
		return nil, err
	}
	c.keys[id] = holder
	return &agentv1.EnrolResponse{CertificateChain: chain, AgentId: id, NodeId: "node-1", NodeName: "one"}, nil
}

// Recover signs another certificate for an agent's key.
func (c *Controller) Recover(_ context.Context, ask *agentv1.RecoverRequest) (*agentv1.RecoverResponse, error) {
	key, err := pki.RequestKey(ask.GetCertificateRequest())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	holder, err := pki.KeyFingerprint(key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys[ask.GetAgentId()] != holder {
		return nil, status.Error(codes.Unauthenticated, "no such agent and key")
	}
	chain, err := c.sign(ask.GetAgentId(), key)
	if err != nil {
		return nil, err
	}
	c.recovered++
	return &agentv1.RecoverResponse{CertificateChain: chain}, nil
}

// Recovered returns how often an expired certificate was replaced.
func (c *Controller) Recovered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recovered
}

// sign signs an agent's certificate; c.mu is held.
func (c *Controller) sign(id string, key *ecdsa.PublicKey) ([][]byte, error) {
	from, to := c.lifetime()
	return c.Authority.Agent(id, key, from, to)
}

// RenewCertificate signs the agent's next certificate.
func (c *Controller) RenewCertificate(ctx context.Context, ask *agentv1.RenewCertificateRequest) (*agentv1.RenewCertificateResponse, error) {
	id, _, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	key, err := pki.RequestKey(ask.GetCertificateRequest())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	chain, err := c.sign(id, key)
	if err != nil {
		return nil, err
	}
	c.renewed++
	return &agentv1.RenewCertificateResponse{CertificateChain: chain}, nil
}

// caller returns who calls, from the connection alone.
func caller(ctx context.Context) (id string, serial string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", "", status.Error(codes.Internal, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", "", status.Error(codes.Internal, "no TLS")
	}
	id, leaf, err := pki.PeerAgent(info.State)
	if err != nil {
		return "", "", status.Error(codes.Unauthenticated, err.Error())
	}
	return id, leaf.SerialNumber.String(), nil
}
