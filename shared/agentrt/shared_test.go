package agentrt_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
)

// cluster runs agents of one node on machines of their own: they see of each other
// what was copied, and one of them has the turn.
type cluster struct {
	*host
	turn chan struct{}

	mu      sync.Mutex
	copied  map[string][]byte
	changes int
	proof   string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{host: newHost(t), turn: make(chan struct{}, 1)}
	c.copied = filesOf(t, c.dir) // what the install script left
	return c
}

// filesOf reads the files of a folder that are copied.
func filesOf(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (entry.IsDir() || strings.HasPrefix(entry.Name(), ".new-")) {
			return nil
		}
		name, _ := filepath.Rel(folder, path)
		if top, _, _ := strings.Cut(name, "/"); top == "lock" || top == "session" || top == "spool" || strings.HasPrefix(top, "update.tar") {
			return nil
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files[name] = content
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return files
}

// run starts the agent of that name, on a machine of its own that has nothing.
func (c *cluster) run(name string) *process {
	s := &seat{cluster: c, folder: filepath.Join(c.t.TempDir(), name)}
	p := c.startWith(func(config *agentrt.Config) {
		config.StateDir, config.Shared, config.Keep = s.folder, s, s.keep
		config.Replacer = &pods{engine: &engine{host: c.host, self: name}, cluster: c}
		config.UpdatePatience = updatePatience
		if name == incumbent {
			return
		}
		config.UpdateID = name
		if c.build == muteLater {
			config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				if c.phase() == "handover" {
					return nil, errors.New("no way out")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			}
		}
	})
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	c.agents[name] = p
	return p
}

func (c *cluster) phase() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r updateRecord
	_ = json.Unmarshal(c.copied["update.json"], &r)
	return r.Phase
}

// seat is how an agent of the cluster gets its turn.
type seat struct {
	*cluster
	folder string
	seen   int
}

func (s *seat) keep(bool) error {
	files := filesOf(s.t, s.folder)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied = files
	s.changes++
	s.seen = s.changes
	return nil
}

func (s *seat) Refresh(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == s.changes && s.changes > 0 {
		return nil
	}
	for name, content := range s.copied {
		path := filepath.Join(s.folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			return err
		}
	}
	s.seen = s.changes
	return nil
}

func (s *seat) Hold(ctx context.Context, work func(context.Context) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-s.turn }()
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	return work(ctx)
}

func (s *seat) Prove(_ context.Context, updateID, version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proof = updateID + " " + version
	return nil
}

// pods is the cluster as one of its agents sees it.
type pods struct {
	*engine
	cluster *cluster
}

func (p *pods) Start(ctx context.Context, b agentrt.Build) error {
	if p.build == good || p.build == muteLater {
		p.cluster.run(b.ID)
		return nil
	}
	return p.engine.Start(ctx, b)
}

func (p *pods) Look(ctx context.Context, id string) (agentrt.Look, error) {
	seen, err := p.engine.Look(ctx, id)
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	if proven, version, _ := strings.Cut(p.cluster.proof, " "); proven == id {
		seen.Proven = version
	}
	return seen, err
}

// TestAnAgentOnAnotherMachineTakesOver: it sees no more of the old one than what
// was copied.
func TestAnAgentOnAnotherMachineTakesOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	old := c.run(incumbent)
	first := c.controller.Welcome(t)
	if r := c.send(t, first, "u1", c.order(t)); r.GetError() != "" {
		t.Fatal(r)
	}
	awaitUpdate(t, first, phaseTakingOver)
	first.Over(t)
	second := c.controller.Accept(t)
	if second.AgentID != first.AgentID || second.Hello.GetUpdate().GetPhase() != phaseTakingOver {
		t.Errorf("agent %s says %v", second.AgentID, second.Hello.GetUpdate())
	}
	select {
	case <-old.ended:
		t.Fatal("the old agent went before the new one was welcomed")
	default:
	}
	second.Welcome(t, 0)
	awaitUpdate(t, second, phaseSuccessful)
	if err := old.wait(); err != nil {
		t.Errorf("the old agent ended with %v", err)
	}
	second.Assign(t, set(1, deployment("shop", 1)))
	second.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
}

// TestAnAgentWaitsForItsTurn, on whatever machine, and goes on with what the one
// before it left.
func TestAnAgentWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.run(incumbent)
	s := c.controller.Welcome(t)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
	second := c.run("another")
	s.Assign(t, set(2, deployment("shop", 2)))
	s.AwaitPhase(t, "id-shop", 2, agentv1.Phase_PHASE_SUCCESSFUL)
	first.quit()
	next := c.controller.Welcome(t)
	if next.AgentID != s.AgentID || next.Hello.GetBootId() == s.Hello.GetBootId() || next.Hello.GetGeneration() != 2 {
		t.Errorf("who comes next says %v", next.Hello)
	}
	second.quit()
}

// TestABadBuildOnAnotherMachineStrandsNoNode, neither before it took over nor after.
func TestABadBuildOnAnotherMachineStrandsNoNode(t *testing.T) {
	for name, says := range map[build]string{
		exits:     "ended before it proved itself",
		hangs:     "did not prove itself within",
		muteLater: "got no session with the controller within",
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.build = name
			c.run(incumbent)
			s := c.controller.Welcome(t)
			first := s.Hello.GetBootId()
			if r := c.send(t, s, "u1", c.order(t)); r.GetError() != "" {
				t.Fatal(r)
			}
			var said string
			if name == muteLater {
				s = c.controller.Welcome(t)
				said = s.Hello.GetUpdate().GetError()
			} else {
				said = awaitUpdate(t, s, phaseFailed).GetError()
			}
			if !strings.Contains(said, says) || s.Hello.GetBootId() != first || c.agent("u1") != nil {
				t.Errorf("it says %q, want %q of the old agent, alone", said, says)
			}
			s.Assign(t, set(1, deployment("shop", 1)))
			s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
		})
	}
}

// TestWhicheverMachineEndedOneAgentServes: the agents end in every phase of an
// update with their machines, and one or both come up on others.
func TestWhicheverMachineEndedOneAgentServes(t *testing.T) {
	const newOne = "u1"
	for _, test := range []struct {
		phase   string
		starts  []string
		becomes string
	}{
		{"preparing", []string{incumbent}, "failed"},
		{"proving", []string{newOne, incumbent}, "failed"},
		{"handover", []string{newOne, incumbent}, "successful"},
		{"handover", []string{incumbent}, "failed"},
		{"committed", []string{incumbent, newOne}, "successful"},
	} {
		t.Run(test.phase+" "+strings.Join(test.starts, " "), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			p := c.run(incumbent)
			c.controller.Welcome(t)
			p.quit()
			record, err := json.Marshal(map[string]string{"id": "u1", "phase": test.phase, "from": "1", "to": buildinfo.Version(), "incumbent": incumbent})
			if err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			c.copied["update.json"] = record
			c.changes++
			c.mu.Unlock()
			for _, name := range test.starts {
				c.run(name)
			}
			s := c.controller.Welcome(t)
			await(t, "the update to be "+test.becomes, func() bool { return c.phase() == test.becomes })
			s.Assign(t, set(1, deployment("shop", 1)))
			s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
		})
	}
}
