package agentrt_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/release"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

// build is how a new agent behaves.
type build string

const (
	good build = "good"
	// exits ends at once, hangs does nothing at all.
	exits build = "exits"
	hangs build = "hangs"
	// broken can't be loaded.
	broken build = "broken"
	// diesLater ends when it is to take over, muteLater takes over and reaches
	// the controller no more, stuckLater never takes over.
	diesLater  build = "dies later"
	muteLater  build = "mute later"
	stuckLater build = "stuck later"
)

// updatePatience is how long a new agent may take: enough on a busy machine for
// one that comes, and waited for to the end where none does.
const updatePatience = 10 * time.Second

// incumbent is what the machine calls an agent that no update started.
const incumbent = "incumbent"

// machine is an engine that runs agents of one node.
type host struct {
	*node
	controller *agentrttest.Controller
	build      build
	key        ed25519.PrivateKey

	mu     sync.Mutex
	agents map[string]*process
	did    []string
	// working counts the agents that work; together is set once two did.
	working  atomic.Int32
	together atomic.Bool
}

func newHost(t *testing.T) *host {
	t.Helper()
	c := agentrttest.Start(t)
	m := &host{node: newNode(t, nil), controller: c, build: good, agents: map[string]*process{}}
	m.driver = &alone{Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}), machine: m}
	c.WriteEnrolment(t, m.dir, "token")
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.key = private
	m.trust(t, public)
	t.Cleanup(func() {
		if m.together.Load() {
			t.Error("two agents worked at once")
		}
	})
	return m
}

func (m *host) trust(t *testing.T, keys ...ed25519.PublicKey) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, "release-keys"), release.EncodeKeys(keys), 0o600); err != nil {
		t.Fatal(err)
	}
}

// alone notices when two agents watch the engine, which only one that works
// does.
type alone struct {
	workload.Driver
	machine *host
}

func (a *alone) Watch(ctx context.Context, changed func()) error {
	if a.machine.working.Add(1) > 1 {
		a.machine.together.Store(true)
	}
	defer a.machine.working.Add(-1)
	return a.Driver.Watch(ctx, changed)
}

// run starts the agent of that name.
func (m *host) run(name string) *process {
	p := m.startWith(func(c *agentrt.Config) {
		c.Replacer = &engine{host: m, self: name}
		c.UpdatePatience = updatePatience
		if name == incumbent {
			return
		}
		c.UpdateID = name
		if m.build == muteLater {
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				if m.phase() == "handover" {
					return nil, errors.New("no way out")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			}
		}
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agents[name] = p
	return p
}

func (m *host) phase() string { return m.record().Phase }

type updateRecord struct {
	ID, Phase, Error string
	From, To         string
	Incumbent        string `json:",omitempty"`
}

func (m *host) record() (r updateRecord) {
	content, _ := os.ReadFile(filepath.Join(m.dir, "update.json"))
	_ = json.Unmarshal(content, &r)
	return r
}

func (m *host) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.did = append(m.did, what)
}

func (m *host) done(what string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.did, what)
}

func (m *host) agent(name string) *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.agents[name]
}

// kill ends an agent and waits until it has.
func (m *host) kill(name string) {
	m.mu.Lock()
	p := m.agents[name]
	delete(m.agents, name)
	m.mu.Unlock()
	if p != nil {
		p.stop()
		<-p.ended
	}
}

// engine is the machine as one of its agents sees it.
type engine struct {
	*host
	self string
}

func (e *engine) Self(context.Context) (string, error) { return e.self, nil }

func (e *engine) Start(_ context.Context, b agentrt.Build) error {
	content, err := os.ReadFile(b.Archive)
	if err != nil || string(content) != "a build" {
		return errors.New("not the archive that was sent")
	}
	switch e.build {
	case broken:
		return errors.New("the image can't be loaded")
	case exits:
		p := &process{ended: make(chan struct{}), stop: func() {}}
		close(p.ended)
		e.put(b.ID, p)
	case hangs:
		p := &process{ended: make(chan struct{})}
		p.stop = sync.OnceFunc(func() { close(p.ended) })
		e.put(b.ID, p)
	case diesLater, stuckLater:
		e.pretend(b.ID)
	default:
		e.run(b.ID)
	}
	return nil
}

func (e *engine) put(name string, p *process) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.agents[name] = p
}

// pretend is an agent that proves itself and does not take over.
func (e *engine) pretend(id string) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{ended: make(chan struct{}), stop: cancel}
	e.put(id, p)
	proof, err := json.Marshal(map[string]string{"id": id, "version": buildinfo.Version()})
	if err == nil {
		err = os.WriteFile(filepath.Join(e.dir, "update.proof"), proof, 0o600)
	}
	if err != nil {
		e.t.Error(err)
	}
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil && (e.build == stuckLater || e.phase() != "handover") {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
}

func (e *engine) Look(_ context.Context, id string) (agentrt.Look, error) {
	p := e.agent(id)
	if p == nil {
		return agentrt.Look{Words: "it is gone"}, nil
	}
	select {
	case <-p.ended:
		return agentrt.Look{Words: "it ended"}, nil
	default:
		return agentrt.Look{Alive: true, Words: "it runs"}, nil
	}
}

func (e *engine) Discard(_ context.Context, id string) error {
	e.kill(id)
	e.note("discard " + id)
	return nil
}

func (e *engine) Keep(_ context.Context, id string) error {
	e.note("keep " + id)
	return nil
}

func (e *engine) Succeed(_ context.Context, id, incumbent string) error {
	e.kill(incumbent)
	e.note("succeed " + id)
	return nil
}

// order is one that the machine's agent takes on.
func (m *host) order(t *testing.T) *agentv1.Update {
	t.Helper()
	content := []byte("a build")
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	m.controller.ServeArtifact("sha256:"+digest, content)
	artifact := release.Artifact{Path: "/artifacts/a.tar", Version: buildinfo.Version(), SHA256: digest, Size: int64(len(content))}
	return &agentv1.Update{
		Version: artifact.Version, Digest: "sha256:" + digest, Size: uint64(artifact.Size), Path: artifact.Path, Signature: artifact.Sign(m.key),
	}
}

// send orders the update and returns the answer.
func (m *host) send(t *testing.T, s *agentrttest.Session, id string, order *agentv1.Update) *agentv1.CommandResult {
	t.Helper()
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: &agentv1.Command{
		Id: id, Act: &agentv1.Command_Update{Update: order},
	}}})
	return s.Await(t, "the answer to the order", func(a *agentv1.AgentMessage) bool { return a.GetCommandResult().GetId() == id }).GetCommandResult()
}

func awaitUpdate(t *testing.T, s *agentrttest.Session, phase agentv1.UpdatePhase) *agentv1.UpdateStatus {
	t.Helper()
	return s.Await(t, phase.String(), func(m *agentv1.AgentMessage) bool { return m.GetUpdate().GetPhase() == phase }).GetUpdate()
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(agentrttest.Patience)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited for %s in vain", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func encode(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }
