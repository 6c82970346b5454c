package agentrpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload/workloadtest"
)

// site is a controller with one team and one node.
type site struct {
	*controllertest.Controller
	admin *controllertest.Client
	node  string
}

func newSite(t *testing.T) site {
	t.Helper()
	c := controllertest.New(t)
	admin := c.Admin(t)
	admin.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	node := admin.Post("/api/acme/nodes", map[string]any{"name": "one"}).Expect(t, http.StatusCreated).String(t, "id")
	return site{Controller: c, admin: admin, node: node}
}

func (s site) nodePath() string { return "/api/acme/nodes/" + s.node }

func (s site) awaitStatus(t *testing.T, want string) {
	t.Helper()
	controllertest.Await(t, "the node is "+want, func() (bool, string) {
		seen := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK)
		return seen.String(t, "liveness") == want, string(seen.Body)
	})
}

// connect dials the agent listener as a program without an identity, or with
// the given one, pinning the root as agents do.
func (s site) connect(t *testing.T, e controllertest.Enrolment, own ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	pin, err := pki.ParsePin(e.RootSHA256)
	if err != nil {
		t.Fatal(err)
	}
	config := pki.Introduce(pin, time.Now).TLSConfig()
	config.Certificates = own
	conn, err := grpc.NewClient(s.AgentAddr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// enrol uses a token with a key and returns the answer.
func enrol(t *testing.T, conn *grpc.ClientConn, token string) (*agentv1.EnrolResponse, tls.Certificate, error) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := agentv1.NewEnrolmentServiceClient(conn).Enrol(t.Context(), &agentv1.EnrolRequest{
		Token: token, CertificateRequest: request, Agent: &agentv1.AgentInfo{NodeType: "docker"},
	})
	return answer, tls.Certificate{Certificate: answer.GetCertificateChain(), PrivateKey: key}, err
}

func refusal(err error) agentv1.RefusalReason {
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*agentv1.Refusal); ok {
			return r.GetReason()
		}
	}
	return agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED
}

func TestEnrolmentTokenWorksForExactlyOne(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	conn := s.connect(t, e)
	const n = 20
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, _, errs[i] = enrol(t, conn, e.Token) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_TOKEN_USED:
			t.Errorf("a loser got %v, want token used", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d concurrent uses won, want 1", won, n)
	}
	// The script held the token; it is gone with it.
	s.admin.Get(s.nodePath()+"/script").Expect(t, http.StatusNotFound)
}

func TestEnrolmentRefusals(t *testing.T) {
	s := newSite(t)
	other := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	foreign := other.admin.Install(t, "acme", other.node)
	conn := s.connect(t, e)
	cases := map[string]struct {
		token  string
		code   codes.Code
		reason agentv1.RefusalReason
	}{
		"malformed": {"no token at all", codes.Unauthenticated, agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN},
		"foreign":   {foreign.Token, codes.Unauthenticated, agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN},
		"empty":     {"", codes.InvalidArgument, agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED},
		"huge":      {strings.Repeat("x", 1<<16), codes.InvalidArgument, agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := enrol(t, conn, c.token)
			if status.Code(err) != c.code || refusal(err) != c.reason {
				t.Errorf("got %v (%v), want %v (%v)", err, refusal(err), c.code, c.reason)
			}
		})
	}
	if _, _, err := enrol(t, conn, e.Token); err != nil {
		t.Errorf("after the refusals the good token fails: %v", err)
	}
}

func TestReplacedScriptsTokenIsUnknown(t *testing.T) {
	s := newSite(t)
	first := s.admin.Install(t, "acme", s.node)
	second := s.admin.Install(t, "acme", s.node)
	conn := s.connect(t, first)
	if _, _, err := enrol(t, conn, first.Token); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN {
		t.Errorf("the replaced token: %v, want unknown", err)
	}
	if _, _, err := enrol(t, conn, second.Token); err != nil {
		t.Errorf("the newer token: %v", err)
	}
}

func TestWrongRootPinEndsBeforeTheTokenIsSent(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	wrong := e
	wrong.RootSHA256 = hex.EncodeToString(make([]byte, 32))
	if _, _, err := enrol(t, s.connect(t, wrong), e.Token); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "root") {
		t.Errorf("got %v, want a failed handshake that names the root", err)
	}
	if _, _, err := enrol(t, s.connect(t, e), e.Token); err != nil {
		t.Errorf("the token was used up: %v", err)
	}
}

func TestSessionNeedsAnIdentityOfThisController(t *testing.T) {
	s, other := newSite(t), newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	foreignEnrolment := other.admin.Install(t, "acme", other.node)
	_, foreign, err := enrol(t, other.connect(t, foreignEnrolment), foreignEnrolment.Token)
	if err != nil {
		t.Fatal(err)
	}
	hello := func(conn *grpc.ClientConn) error {
		stream, err := agentv1.NewSessionServiceClient(conn).Session(t.Context())
		if err != nil {
			return err
		}
		err = stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{
			ProtocolMin: 1, ProtocolMax: 1, BootId: "boot",
		}}})
		_, recvErr := stream.Recv()
		return errors.Join(recvErr, err)
	}
	if err := hello(s.connect(t, e)); status.Code(errors.Unwrap(err)) != codes.Unauthenticated && !strings.Contains(err.Error(), "Unauthenticated") {
		t.Errorf("without a certificate: %v, want unauthenticated", err)
	}
	// Another controller's certificate does not get through the handshake.
	if err := hello(s.connect(t, e, foreign)); err == nil {
		t.Error("a certificate of another root opened a session")
	}
	_, own, err := enrol(t, s.connect(t, e), e.Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := hello(s.connect(t, e, own)); err != nil {
		t.Errorf("with its own certificate: %v", err)
	}
}

func TestRequestGivesNothingButItsKey(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	answer, own, err := enrol(t, s.connect(t, e), e.Token)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if leaf.IsCA || len(leaf.DNSNames) > 0 || len(leaf.URIs) != 1 || leaf.URIs[0].String() != pki.AgentURI(answer.GetAgentId()).String() {
		t.Errorf("the certificate says more than who the agent is: CA %v, names %v, URIs %v", leaf.IsCA, leaf.DNSNames, leaf.URIs)
	}
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("usages are %v, want client authentication alone", leaf.ExtKeyUsage)
	}
	if lifetime := leaf.NotAfter.Sub(leaf.NotBefore); lifetime > 25*time.Hour {
		t.Errorf("it lasts %v, want a day", lifetime)
	}
}

func TestAgentComesGoesAndIsRevoked(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	driver.AddForeign("neighbour")
	dir := t.TempDir()

	agent := controllertest.StartAgent(t, dir, &e, driver)
	s.awaitStatus(t, "connected")
	controllertest.Await(t, "the foreign container is listed", func() (bool, string) {
		seen := s.admin.Get(s.nodePath()+"/containers").Expect(t, http.StatusOK)
		return strings.Contains(string(seen.Body), "neighbour"), string(seen.Body)
	})
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	s.awaitStatus(t, "left")

	agent = controllertest.StartAgent(t, dir, nil, driver)
	s.awaitStatus(t, "connected")
	s.admin.Post(s.nodePath()+"/script", map[string]any{"type": "docker", "scriptType": "shell"}).Expect(t, http.StatusConflict)

	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	s.awaitStatus(t, "left")
	if err := agent.Ended(t); !errors.Is(err, agentrt.ErrRevoked) {
		t.Errorf("the revoked agent ended with %v", err)
	}
	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNotFound)
	// Started again, it stays away by itself: it knows that it was revoked.
	if err := controllertest.StartAgent(t, dir, nil, driver).Stop(); err != nil && !errors.Is(err, agentrt.ErrRevoked) {
		t.Errorf("the revoked agent, started again, ended with %v", err)
	}
	events := s.admin.Get(s.nodePath()+"/audit?skip=0&take=10&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	for _, want := range []string{"installed", "connected", "left", "kicked"} {
		if !strings.Contains(string(events.Body), `"`+want+`"`) {
			t.Errorf("the node's history lacks %q: %s", want, events.Body)
		}
	}
	if n := strings.Count(string(events.Body), `"connected"`); n != 2 {
		t.Errorf("the agent connected %d times, want 2: %s", n, events.Body)
	}
}

func TestNewerSessionTakesOver(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	_, own, err := enrol(t, s.connect(t, e), e.Token)
	if err != nil {
		t.Fatal(err)
	}
	open := func() (agentv1.SessionService_SessionClient, *agentv1.Welcome) {
		stream, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		err = stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{
			ProtocolMin: 1, ProtocolMax: 1, BootId: "boot",
		}}})
		if err != nil {
			t.Fatal(err)
		}
		first, err := stream.Recv()
		if err != nil || first.GetWelcome() == nil {
			t.Fatalf("got %v, %v; want a welcome", first, err)
		}
		return stream, first.GetWelcome()
	}
	old, first := open()
	_, second := open()
	if second.GetEpoch() <= first.GetEpoch() {
		t.Errorf("epochs %d then %d: must rise", first.GetEpoch(), second.GetEpoch())
	}
	for {
		if _, err = old.Recv(); err != nil {
			break
		}
	}
	if refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REPLACED {
		t.Errorf("the old session ended with %v, want replaced", err)
	}
	s.awaitStatus(t, "connected")
}
