package replica_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/replica"
	replicav1 "fairlead.dev/protobuf/gen/fairlead/replica/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload"
)

// site is a replica: a broker and a listener, and a client of its own.
type site struct {
	*bulk.Broker
	*replica.Client
	address string
	pinged  chan uuid.UUID
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newSite(t *testing.T, name string, authority *pki.Authority) *site {
	t.Helper()
	s := &site{pinged: make(chan uuid.UUID, 1)}
	s.Broker = bulk.NewBroker(bulk.Config{
		Limits: bulk.DefaultLimits(), Replica: name, Now: time.Now, Misused: func(context.Context, bulk.Misuse) {},
	})
	certificate, err := authority.Server(time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(pki.ServerTLS([]*x509.Certificate{authority.Root}, func([]string) (*tls.Certificate, error) { return certificate, nil }, time.Now))),
		grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(64<<10), grpc.MaxConcurrentStreams(64),
	)
	replica.NewServer(replica.ServerConfig{
		Broker: s.Broker, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Ping: func(_ context.Context, agentID uuid.UUID, epoch int64) (bool, string, error) {
			if !s.Holds(agentID, epoch) {
				return false, "", replica.NotHere()
			}
			s.pinged <- agentID
			return true, "boot", nil
		},
		Health: func() replica.Health { return replica.Health{Database: true} },
	}).Register(server)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.Client = replica.NewClient(replica.ClientConfig{
		Roots: func() []*x509.Certificate { return []*x509.Certificate{authority.Root} },
		Sign: func(notBefore, notAfter time.Time) (*tls.Certificate, error) {
			return authority.Replica(name, notBefore, notAfter)
		},
		Patience: time.Minute, Now: time.Now,
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

// owner attaches an agent to a site and returns where it is, and its asks.
func (s *site) owner() (bulk.Owner, chan bulk.Ask) {
	asks := make(chan bulk.Ask, 100)
	o := bulk.Owner{AgentID: uuid.New(), NodeID: uuid.New(), Epoch: 3, Connected: true, Address: s.address}
	s.Attach(bulk.Session{
		AgentID: o.AgentID, NodeID: o.NodeID, Epoch: o.Epoch, Capable: true, ExecCapable: true,
		Ask: func(a bulk.Ask) error { asks <- a; return nil },
	})
	return o, asks
}

func terminal() bulk.Request {
	return bulk.Request{
		Container: workload.ContainerID{Prefix: "shop", Name: "web"},
		Exec:      &bulk.Exec{Command: []string{"sh", "-c", "x"}, TTY: true, Stdin: true, Size: bulk.Size{Columns: 8, Rows: 9}, Environment: map[string]string{"A": "1"}},
	}
}

// TestAStreamGoesOverTwoReplicas reads at one, has the session at another, and
// the agent's connection for streams at a third.
func TestAStreamGoesOverTwoReplicas(t *testing.T) {
	authority := newAuthority(t)
	reader, holder, third := newSite(t, "one", authority), newSite(t, "two", authority), newSite(t, "three", authority)
	owner, asks := holder.owner()
	bearers := make(chan bulk.Bearer, 1)
	go func() {
		ask := <-asks
		if got := fmt.Sprintf("%+v", *ask.Request.Exec); got != fmt.Sprintf("%+v", *terminal().Exec) {
			t.Errorf("the agent was asked for %s", got)
		}
		if bulk.ReplicaOf(ask.StreamID) != "two" {
			t.Errorf("the stream %s does not say whose it is", ask.StreamID)
		}
		b, err := third.Client.Join(t.Context(), holder.address, owner.AgentID, ask.StreamID)
		if err != nil {
			t.Error(err)
		}
		bearers <- b
	}()
	stream, err := reader.Client.Open(t.Context(), owner, terminal())
	if err != nil {
		t.Fatal(err)
	}
	bearer := <-bearers
	if bearer == nil {
		t.FailNow()
	}
	if err := stream.Send(bulk.Down{Input: []byte("typed"), InputClosed: true}); err != nil {
		t.Fatal(err)
	}
	if d, err := bearer.Next(t.Context()); err != nil || string(d.Input) != "typed" || !d.InputClosed {
		t.Errorf("down came %+v, %v", d, err)
	}
	code := 5
	go func() {
		for n := range 1000 {
			_ = bearer.Deliver(t.Context(), bulk.Up{Stream: "stderr", Data: []byte(fmt.Sprint(n))})
		}
		_ = bearer.Deliver(t.Context(), bulk.Up{End: &bulk.End{Err: apperr.New(apperr.NotFound, "gone"), ExitCode: &code}})
		bearer.Left()
	}()
	for n := range 1000 {
		if up, err := stream.Recv(); err != nil || string(up.Data) != fmt.Sprint(n) || up.Stream != "stderr" {
			t.Fatalf("part %d is %+v, %v", n, up, err)
		}
	}
	up, err := stream.Recv()
	if err != nil || up.End == nil || *up.End.ExitCode != 5 || !apperr.Is(up.End.Err, apperr.NotFound) {
		t.Errorf("the end is %+v, %v", up.End, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestRelayedStreamsEndWithEitherSide(t *testing.T) {
	authority := newAuthority(t)
	reader, holder := newSite(t, "one", authority), newSite(t, "two", authority)
	owner, asks := holder.owner()
	open := func() (bulk.Stream, *bulk.Carrier) {
		joined := make(chan *bulk.Carrier, 1)
		go func() {
			c, err := holder.Broker.Join(t.Context(), owner.AgentID, (<-asks).StreamID)
			if err != nil {
				t.Error(err)
			}
			joined <- c
		}()
		stream, err := reader.Client.Open(t.Context(), owner, terminal())
		if err != nil {
			t.Fatal(err)
		}
		return stream, <-joined
	}
	stream, carrier := open()
	stream.Close(nil)
	<-carrier.Done()

	stream, _ = open()
	holder.Interrupt(apperr.New(apperr.Unavailable, "stopping").WithReason(bulk.ReasonStopping))
	_, err := stream.Recv()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != apperr.Unavailable || e.Reason != bulk.ReasonStopping {
		t.Errorf("the reader is told %v", err)
	}

	// A reader that takes nothing holds the agent up, across the replicas.
	stream, carrier = open()
	delivered := make(chan int, 1<<16)
	go func() {
		for carrier.Deliver(t.Context(), bulk.Up{Stream: "stdout", Data: make([]byte, 32<<10)}) == nil {
			delivered <- 32 << 10
		}
		close(delivered)
	}()
	held := 0
	for quiet := 0; quiet < 10; {
		select {
		case n := <-delivered:
			held, quiet = held+n, 0
		case <-time.After(30 * time.Millisecond):
			quiet++
		}
		if held > 4<<20 {
			t.Fatalf("%d bytes were taken for a reader that takes nothing", held)
		}
	}
	stream.Close(nil)
	for range delivered {
	}
}

func TestManyStreamsBetweenTwoReplicas(t *testing.T) {
	authority := newAuthority(t)
	reader, holder := newSite(t, "one", authority), newSite(t, "two", authority)
	for range 4 {
		owner, asks := holder.owner()
		for range bulk.DefaultLimits().PerAgent {
			go func() { _, _ = holder.Broker.Join(t.Context(), owner.AgentID, (<-asks).StreamID) }()
			if _, err := reader.Client.Open(t.Context(), owner, terminal()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheWrongReplicaSaysSo(t *testing.T) {
	authority := newAuthority(t)
	reader, holder := newSite(t, "one", authority), newSite(t, "two", authority)
	owner, _ := holder.owner()
	older := owner
	older.Epoch--
	nobody := owner
	nobody.AgentID = uuid.New()
	for name, o := range map[string]bulk.Owner{"an older session": older, "nobody": nobody} {
		_, err := reader.Client.Open(t.Context(), o, terminal())
		var e *apperr.Error
		if !errors.As(err, &e) || e.Reason != bulk.ReasonNotHere {
			t.Errorf("%s: %v, want not here", name, err)
		}
		if _, _, err := reader.Ping(t.Context(), o.Address, o.AgentID, o.Epoch); !errors.As(err, &e) || e.Reason != bulk.ReasonNotHere {
			t.Errorf("ping %s: %v, want not here", name, err)
		}
	}
	away := owner
	away.Address = "127.0.0.1:1"
	_, err := reader.Client.Open(t.Context(), away, terminal())
	var e *apperr.Error
	if !errors.As(err, &e) || e.Reason != bulk.ReasonPeerAway || e.Kind != apperr.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := reader.Client.Join(t.Context(), holder.address, owner.AgentID, "made-up"); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("a stream that nobody asked for: %v", err)
	}
	alive, boot, err := reader.Ping(t.Context(), holder.address, owner.AgentID, owner.Epoch)
	if err != nil || !alive || boot != "boot" || <-holder.pinged != owner.AgentID {
		t.Errorf("ping: %v %q %v", alive, boot, err)
	}
	if h, err := reader.Health(t.Context(), holder.address); err != nil || !h.Database || h.Accepting {
		t.Errorf("health: %+v %v", h, err)
	}
}

// TestOnlyReplicasMayCall tries with the certificates that an agent has, that
// a replica of another installation has, and with none.
func TestOnlyReplicasMayCall(t *testing.T) {
	authority, foreign := newAuthority(t), newAuthority(t)
	holder := newSite(t, "two", authority)
	owner, _ := holder.owner()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	agentChain, err := authority.Agent(uuid.NewString(), &key.PublicKey, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Replica("one", time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]*tls.Certificate{
		"an agent": {Certificate: agentChain, PrivateKey: key}, "a replica of another installation": stranger, "nobody": {},
	} {
		t.Run(name, func(t *testing.T) {
			config := pki.ReplicaTLS(func() []*x509.Certificate { return []*x509.Certificate{authority.Root} },
				func() (*tls.Certificate, error) { return own, nil }, time.Now)
			conn, err := grpc.NewClient(holder.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			client := replicav1.NewRelayServiceClient(conn)
			session := &replicav1.Session{AgentId: owner.AgentID.String(), Epoch: uint64(owner.Epoch)}
			_, health := client.Health(t.Context(), &replicav1.HealthRequest{})
			_, ping := client.Ping(t.Context(), &replicav1.PingRequest{Session: session})
			carry, err := client.Carry(t.Context())
			if err == nil {
				_ = carry.Send(&replicav1.RelayDown{Body: &replicav1.RelayDown_Open{Open: &replicav1.RelayOpen{Session: session}}})
				_, err = carry.Recv()
			}
			join, joinErr := client.Join(t.Context())
			if joinErr == nil {
				_ = join.Send(&replicav1.JoinUp{Body: &replicav1.JoinUp_Open{Open: &replicav1.JoinOpen{AgentId: owner.AgentID.String()}}})
				_, joinErr = join.Recv()
			}
			for call, err := range map[string]error{"health": health, "ping": ping, "carry": err, "join": joinErr} {
				if err == nil || name == "an agent" && !refused(err) {
					t.Errorf("%s: %v", call, err)
				}
			}
		})
	}
	// And a replica is no agent.
	replicas, err := authority.Replica("one", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(replicas.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if id, err := pki.AgentID(leaf); err == nil {
		t.Errorf("a replica's certificate names the agent %q", id)
	}
}

func refused(err error) bool { return status.Code(err) == codes.Unauthenticated }
