package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/e2e/chaos/engine"
	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/fleetsim/faultnet"
)

const (
	adminEmail    = "admin@example.org"
	adminPassword = "correct horse battery staple"
	database      = "fairlead"
	// engineLatency is the most that an engine takes for one thing, before it
	// does it and once more before it says so.
	engineLatency = 25 * time.Millisecond
	// Processes start and stop within these, also on a busy machine.
	startPatience = 2 * time.Minute
	stopPatience  = 2 * time.Minute
	// diskBytes is what an agent's disk holds.
	diskBytes = 4 << 20
)

// world is everything a run has: a database, controllers, nodes, and what is
// between them.
type world struct {
	t    *testing.T
	seed uint64
	dir  string

	db          *postgresql
	controllers []*controller
	nodes       []*node
	team        *client.Team
	balancer    *balancer
	registry    string

	// acts counts what was asked before the database was put back.
	acts map[string]int

	began time.Time
	mu    sync.Mutex
	story []string
}

// controller is one controller process.
type controller struct {
	*program
	url    string
	agents string
	client *client.Client
}

// node is a machine: an engine, an agent, and the line to the controllers.
type node struct {
	name   string
	id     string
	dir    string // state, on a disk of its own if it can have one
	clock  string
	engine *engine.Engine
	proxy  *faultnet.Proxy
	agent  *program
	// disk is whether its state folder is a small disk of its own.
	disk bool
}

// newWorld starts a world of so many controllers and nodes.
func newWorld(t *testing.T, seed uint64, controllers, nodes int) *world {
	t.Helper()
	w := &world{t: t, seed: seed, began: time.Now(), acts: map[string]int{}}
	dir, err := os.MkdirTemp("/tmp", "fairlead-chaos-") //nolint:usetesting // its folders are closed to PostgreSQL's account
	must(t, err)
	must(t, os.Chmod(dir, 0o711))
	w.dir = dir
	t.Cleanup(func() {
		must(t, os.WriteFile(filepath.Join(dir, "story"), []byte(strings.Join(w.story, "\n")+"\n"), 0o600))
		if t.Failed() {
			t.Logf("what is left of the run is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w.db = newPostgreSQL(t, dir)
	if said, err := w.db.query("postgres", "create database "+database); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	artifacts := filepath.Join(dir, "artifacts")
	must(t, os.Mkdir(artifacts, 0o755))
	// Install scripts are made only for agents that the controller could hand out.
	must(t, os.WriteFile(filepath.Join(artifacts, "dagent-linux-amd64.tar"), []byte("not an image"), 0o600))
	controllerBinary := build(t, dir, "controller", "fairlead.dev/controller/cmd/controller")
	agentBinary := build(t, dir, "agent", "fairlead.dev/e2e/chaos/cmd/agent")
	for i := range controllers {
		w.addController(i, controllerBinary, artifacts)
	}
	w.balancer = &balancer{controllers: w.controllers}
	w.team = w.newTeam()
	for i := range nodes {
		w.addNode(i, agentBinary)
	}
	must(t, w.awaitConnected(t.Context(), startPatience))
	return w
}

func (w *world) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, fmt.Sprintf("%8.3f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) addController(i int, binary, artifacts string) {
	w.t.Helper()
	http, agents := freeAddress(w.t), freeAddress(w.t)
	c := &controller{url: "http://" + http, agents: agents, client: client.New("http://" + http)}
	first := c
	if i > 0 {
		first = w.controllers[0]
	}
	c.program = &program{
		name: fmt.Sprintf("controller %d", i), path: binary, log: filepath.Join(w.dir, fmt.Sprintf("controller-%d.log", i)),
		args: []string{
			"serve", "--state-dir", filepath.Join(w.dir, fmt.Sprintf("state-%d", i)), "--keys-dir", filepath.Join(w.dir, "keys"),
			"--artifact-dir", artifacts, "--http-addr", http, "--agent-addr", agents, "--replica-addr", agents,
			"--public-url", first.url, "--agent-public-addr", first.agents,
		},
		env: []string{
			"DATABASE_URL=" + w.db.url(database), "FAIRLEAD_ADMIN_EMAIL=" + adminEmail, "FAIRLEAD_ADMIN_PASSWORD=" + adminPassword,
		},
	}
	w.controllers = append(w.controllers, c)
	c.start(w.t)
	w.t.Cleanup(func() { c.stop(w.t) })
	w.awaitReady(c)
}

// awaitReady waits until a controller serves.
func (w *world) awaitReady(c *controller) {
	w.t.Helper()
	must(w.t, client.Await(w.t.Context(), startPatience, c.name+" to be ready", func() (bool, string, error) {
		err := c.client.Call(w.t.Context(), "GET", "/readyz", nil, nil)
		if !c.running() {
			return false, "", fmt.Errorf("it ended; its log is %s", c.log)
		}
		return err == nil, fmt.Sprint(err), nil
	}))
}

// balancer sends each call to the next controller, whether or not that serves.
type balancer struct {
	controllers []*controller
	next        atomic.Uint32
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	c := b.controllers[int(b.next.Add(1))%len(b.controllers)]
	r = r.Clone(r.Context())
	r.URL.Host = strings.TrimPrefix(c.url, "http://")
	return http.DefaultTransport.RoundTrip(r)
}

func (w *world) newTeam() *client.Team {
	w.t.Helper()
	someone := client.NewOver(w.controllers[0].url, w.balancer)
	must(w.t, someone.Login(w.t.Context(), adminEmail, adminPassword))
	team, err := someone.CreateTeam(w.t.Context(), "chaos")
	must(w.t, err)
	var registry struct{ ID string }
	must(w.t, team.Call(w.t.Context(), http.MethodPost, "/api/chaos/registries", client.Object{
		"name": "own", "type": "unchecked", "details": client.Object{"url": "registry.example:5000"},
	}, &registry))
	w.registry = registry.ID
	return team
}

var enrolment = regexp.MustCompile(`\{[^{}]*"rootSha256"[^{}]*\}`)

func (w *world) addNode(i int, binary string) {
	w.t.Helper()
	n := &node{name: fmt.Sprintf("node%d", i), dir: filepath.Join(w.dir, fmt.Sprintf("node%d", i))}
	n.clock = filepath.Join(w.dir, n.name+".clock")
	n.engine = engine.New(w.seed+uint64(i), engineLatency)
	var err error
	n.id, err = w.team.CreateNode(w.t.Context(), n.name)
	must(w.t, err)
	line := faultnet.NewLine(w.seed + uint64(i))
	n.proxy, err = faultnet.Listen(w.t.Context(), w.controllers[i%len(w.controllers)].agents, line)
	must(w.t, err)
	w.t.Cleanup(func() { _ = n.proxy.Close() })

	must(w.t, os.Mkdir(n.dir, 0o700))
	// As root, the state is on a small disk that can be filled.
	if syscall.Mount("tmpfs", n.dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskBytes)) == nil {
		n.disk = true
		w.t.Cleanup(func() { _ = syscall.Unmount(n.dir, syscall.MNT_DETACH) })
	}
	script, err := w.team.CreateScript(w.t.Context(), n.id, "/srv/fairlead/chaos")
	must(w.t, err)
	var e map[string]any
	must(w.t, json.Unmarshal([]byte(enrolment.FindString(script.Script)), &e))
	e["controller"] = n.proxy.Addr()
	content, err := json.Marshal(e)
	must(w.t, err)
	must(w.t, os.WriteFile(filepath.Join(n.dir, "enrol.json"), content, 0o600))

	socket := filepath.Join(w.dir, n.name+".sock")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.engine.Serve(ctx, socket) }()
	n.agent = &program{
		name: n.name, path: binary, log: filepath.Join(w.dir, n.name+".log"),
		env: []string{"CHAOS_STATE=" + n.dir, "CHAOS_ENGINE=" + socket, "CHAOS_CLOCK=" + n.clock},
	}
	n.agent.start(w.t)
	w.t.Cleanup(func() {
		n.agent.stop(w.t)
		cancel()
		must(w.t, <-served)
	})
	w.nodes = append(w.nodes, n)
}

// awaitConnected waits until every node is connected.
func (w *world) awaitConnected(ctx context.Context, patience time.Duration) error {
	for _, n := range w.nodes {
		err := client.Await(ctx, patience, n.name+" to be connected", func() (bool, string, error) {
			seen, err := w.team.Node(ctx, n.id)
			return err == nil && seen.Liveness == "connected", fmt.Sprintf("%s %s, %v", seen.Liveness, seen.Refusal, err), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rows answers a query as JSON objects.
func rows[T any](w *world, sql string) ([]T, error) {
	said, err := w.db.query(database, "select coalesce(json_agg(x), '[]') from ("+sql+") x")
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", sql, err, said)
	}
	var list []T
	if err := json.Unmarshal([]byte(said), &list); err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return list, nil
}

// random returns a source of numbers for one actor of the run.
func (w *world) random(actor uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, actor)) }
