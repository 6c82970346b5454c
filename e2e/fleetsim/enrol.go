package fleetsim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
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
	// As the agents' runtime has them.
	windowBytes      = 64 << 10
	keepalivePeriod  = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	// bufferBytes is small for many agents in one process.
	bufferBytes = 1 << 10

	enrolTimeout = time.Minute
)

// connect returns a connection that is made when it is first used.
func (a *Agent) connect(b *boot, own *tls.Certificate) (*grpc.ClientConn, error) {
	// Known by its pin on every connection: an agent of a fleet keeps no roots.
	config := a.fleet.introduction.TLSConfig()
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	return grpc.NewClient("passthrough:///"+a.fleet.config.Controller,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return a.dial(ctx, b, address) }),
		grpc.WithStaticStreamWindowSize(windowBytes), grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithReadBufferSize(bufferBytes), grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepalivePeriod, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(specpb.MaxMessageBytes)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
	)
}

// enrol exchanges the agent's token for an identity.
func (a *Agent) enrol(ctx context.Context) error {
	key, err := pki.NewKey()
	if err != nil {
		return fmt.Errorf("make agent %d's key: %w", a.index, err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		return fmt.Errorf("make agent %d's request: %w", a.index, err)
	}
	for attempt := 0; ; attempt++ {
		answer, err := a.enrolOnce(ctx, request)
		if err == nil {
			leaf, err := x509.ParseCertificate(answer.GetCertificateChain()[0])
			if err != nil {
				return fmt.Errorf("read agent %d's certificate: %w", a.index, err)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.id, a.token.NodeID, a.token.NodeName = answer.GetAgentId(), answer.GetNodeId(), answer.GetNodeName()
			a.own = &tls.Certificate{Certificate: answer.GetCertificateChain(), PrivateKey: key, Leaf: leaf}
			return nil
		}
		refused := refusalOf(err)
		code := status.Code(err)
		again := code == codes.Unavailable || code == codes.ResourceExhausted || code == codes.DeadlineExceeded ||
			refused.GetReason() == agentv1.RefusalReason_REFUSAL_REASON_BUSY
		if !again || ctx.Err() != nil {
			return fmt.Errorf("enrol agent %d: %w", a.index, err)
		}
		a.fleet.counters.ended("enrolment " + reasonOf(err))
		wait := time.Duration(refused.GetRetryAfterMs())*time.Millisecond + a.part(min(time.Minute, backoffBase<<min(attempt, 10)))
		if !sleep(ctx, wait) {
			return fmt.Errorf("enrol agent %d: %w", a.index, errors.Join(err, ctx.Err()))
		}
	}
}

func (a *Agent) enrolOnce(ctx context.Context, request []byte) (*agentv1.EnrolResponse, error) {
	conn, err := a.connect(nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	return agentv1.NewEnrolmentServiceClient(conn).Enrol(ctx, &agentv1.EnrolRequest{
		Token: a.token.Token, CertificateRequest: request, Agent: a.info(),
	})
}

// info is what the agent says of itself.
func (a *Agent) info() *agentv1.AgentInfo {
	return &agentv1.AgentInfo{
		Version: "0.0.0-fleetsim", NodeType: "docker", EngineName: "make-believe", EngineVersion: "1.0.0",
		EngineId: fmt.Sprintf("engine-%d", a.index), Os: "linux", Architecture: "amd64", Hostname: fmt.Sprintf("node-%d", a.index),
	}
}

// refusalOf returns the refusal in a call's error, nil when there is none.
func refusalOf(err error) *agentv1.Refusal {
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*agentv1.Refusal); ok {
			return r
		}
	}
	return nil
}

// reasonOf names the end of a call in a word or two.
func reasonOf(err error) string {
	if r := refusalOf(err); r != nil {
		return r.GetReason().String()
	}
	return status.Code(err).String()
}
