package report_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// store is the real one; it counts transactions and fails on demand.
type store struct {
	*postgres.DB
	transactions atomic.Int64
	// fails is asked before each transaction.
	fails atomic.Pointer[func() error]
}

func (s *store) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	s.transactions.Add(1)
	if fails := s.fails.Load(); fails != nil {
		if err := (*fails)(); err != nil {
			return err
		}
	}
	return s.DB.InTx(ctx, fn)
}

func (s *store) fail(with func() error) { s.fails.Store(&with) }

// progress takes what is told of deployments; nodes in bad make it fail.
type progress struct {
	mu     sync.Mutex
	told   []deployment.NodeProgress
	bad    map[uuid.UUID]error
	onward *deployment.Service
}

func (p *progress) RecordNodes(ctx context.Context, list []deployment.NodeProgress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range list {
		if err := p.bad[n.NodeID]; err != nil {
			return err
		}
	}
	p.told = append(p.told, list...)
	return p.onward.RecordNodes(ctx, list)
}

// world is a team in a database of its own, with a recorder that runs.
type world struct {
	*report.Recorder
	t        testing.TB
	store    *store
	progress *progress
	rows     *pgx.Conn
	team     uuid.UUID
	ctx      context.Context
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := idleWorld(t)
	w.run()
	return w
}

// idleWorld is one whose recorder does not run yet.
func idleWorld(t testing.TB) *world {
	t.Helper()
	dsn := pgtest.NewDSN(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn, Log: log, MaxConns: 8})
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	rows, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("connect to the database: %v", err)
	}
	t.Cleanup(func() {
		_ = rows.Close(context.Background())
		_ = db.Close()
	})
	w := &world{t: t, store: &store{DB: db}, rows: rows, ctx: teamtest.New(t, db)}
	scope, err := actor.TeamFrom(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.team = scope.ID
	w.progress = &progress{bad: map[uuid.UUID]error{}, onward: deployment.New(deployment.Config{Store: db, Logger: log, Now: now})}
	w.Recorder = report.New(report.Config{Store: w.store, Progress: w.progress, Log: log, Now: now})
	return w
}

// run runs the recorder until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx)
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.rows.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

func value[T any](w *world, query string, args ...any) T {
	w.t.Helper()
	var v T
	if err := w.rows.QueryRow(w.t.Context(), query, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return v
}

// node adds a node with an agent, and returns what its first session is.
func (w *world) node(name string) agent.Session {
	w.t.Helper()
	s := agent.Session{AgentID: uuid.New(), NodeID: uuid.New(), Epoch: 1}
	w.exec(`insert into nodes (id, team_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, $3, 'docker', now(), '', now(), '')`, s.NodeID, w.team, name)
	w.exec(`insert into agents (id, node_id, key_hash, certificate_not_after, enrolled_at, epoch)
		values ($1, $2, $3, now(), now(), 1)`, s.AgentID, s.NodeID, s.AgentID[:])
	return s
}

// again opens the agent's next session.
func (w *world) again(s agent.Session) agent.Session {
	w.t.Helper()
	s.Epoch++
	w.exec("update agents set epoch = $2 where id = $1", s.AgentID, s.Epoch)
	s.StatusSequence = uint64(value[int64](w, "select status_sequence from agents where id = $1", s.AgentID))
	return s
}

// session is an open one, and what it was told.
type session struct {
	*report.Line
	t testing.TB

	mu       sync.Mutex
	sequence uint64
	fact     uint64
	err      error
	heard    chan struct{}
}

func (w *world) open(s agent.Session) *session {
	x := &session{t: w.t, heard: make(chan struct{}, 1)}
	x.Line = w.Open(s, x)
	return x
}

func (x *session) Committed(sequence, fact uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sequence, x.fact = sequence, fact
	x.hear()
}

func (x *session) Refused(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = err
	x.hear()
}

func (x *session) hear() {
	select {
	case x.heard <- struct{}{}:
	default:
	}
}

// tell sends a report.
func (x *session) tell(p report.Report) {
	x.t.Helper()
	if err := x.Report(x.t.Context(), p); err != nil {
		x.t.Fatalf("report %d: %v", p.Sequence, err)
	}
}

// await waits until a report is committed, and returns the last fact that is.
func (x *session) await(sequence uint64) uint64 {
	x.t.Helper()
	return x.wait(fmt.Sprint("report ", sequence, " is committed"), func() bool { return x.sequence >= sequence || x.err != nil })
}

func (x *session) wait(what string, done func() bool) uint64 {
	x.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		x.mu.Lock()
		ok, fact, sequence, err := done(), x.fact, x.sequence, x.err
		x.mu.Unlock()
		if ok {
			return fact
		}
		select {
		case <-x.heard:
		case <-timer.C:
			x.t.Fatalf("waited too long until %s; heard of %d, %v", what, sequence, err)
		}
	}
}

// refusal waits until nothing is taken any more and returns why.
func (x *session) refusal() error {
	x.t.Helper()
	x.wait("it is refused", func() bool { return x.err != nil })
	return x.err
}

// container is one as agents see it.
func container(name string) workload.Container {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return workload.Container{
		ID: workload.ContainerID{Prefix: "shop", Name: name}, EngineID: "id-" + name, Managed: true,
		DeploymentID: uuid.NewSHA1(uuid.Nil, []byte("d")).String(), InstanceID: uuid.NewSHA1(uuid.Nil, []byte(name)).String(), Release: 3,
		ImageName: "registry.example/" + name, ImageTag: "1", ImageDigest: "sha256:1", Command: "run",
		CreatedAt: at, State: spec.StateRunning, Reason: "running", Health: "healthy",
		Ports: []workload.Port{{Internal: 80, External: 8080, Protocol: "tcp"}}, StartedAt: at.Add(time.Second),
	}
}

func list(containers ...workload.Container) *report.Containers {
	return &report.Containers{List: containers}
}

// stored returns the node's containers as they are in the database.
func (w *world) stored(s agent.Session) []workload.Container {
	w.t.Helper()
	found, err := w.store.ListContainers(w.t.Context(), s.NodeID, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}
