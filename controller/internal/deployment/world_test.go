package deployment_test

import (
	"context"
	"errors"
	"log/slog"
	"path"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// world is a team with a registry and a node in a database of its own, and the
// service under test. The nouns around deployments are plain rows.
type world struct {
	*deployment.Service
	t    *testing.T
	db   *postgres.DB
	rows *pgx.Conn
	// ctx is a request of the team's owner.
	ctx      context.Context
	team     uuid.UUID
	registry uuid.UUID
	node     uuid.UUID
	// What the injected functions answer.
	live        map[uuid.UUID]deployment.LivenessInfo
	auth        *spec.RegistryAuth
	credentials error
}

func newWorld(t *testing.T) *world {
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
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	w := &world{t: t, db: db, rows: rows, ctx: teamtest.New(t, db), live: map[uuid.UUID]deployment.LivenessInfo{}}
	scope, err := actor.TeamFrom(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.team = scope.ID
	w.Service = deployment.New(deployment.Config{
		Store: db, Audit: audit.New(db, now), Logger: log, Now: now, Sealer: realSealer{},
		Reference: func(_ context.Context, _ uuid.UUID, name, tag string) (string, error) {
			return "registry.example/" + name + ":" + tag, nil
		},
		Credentials: func(context.Context, uuid.UUID) (*spec.RegistryAuth, error) { return w.auth, w.credentials },
		Liveness: func(context.Context, []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error) {
			return w.live, nil
		},
		Removal: func(held, next []deployment.Assignment) deployment.Removal {
			r := specpb.RemovalOf(wire(deployment.Set{Assignments: held}), wire(deployment.Set{Assignments: next}))
			return deployment.Removal{Workloads: r.Workloads, Held: r.Held, TooMany: r.TooMany()}
		},
	})
	w.registry = w.insert(`insert into registries (id, team_id, name, type, url, created_at, created_by, updated_at, updated_by)
		values ($1, $2, 'Registry', 'v2', 'registry.example', now(), '', now(), '')`, w.team)
	w.node = w.newNode("node")
	return w
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// insert runs a statement whose first parameter is a new id, and returns that.
func (w *world) insert(statement string, args ...any) uuid.UUID {
	w.t.Helper()
	id := uuid.New()
	w.exec(statement, append([]any{id}, args...)...)
	return id
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.rows.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// value reads one value.
func value[T any](w *world, query string, args ...any) T {
	w.t.Helper()
	var v T
	if err := w.rows.QueryRow(w.t.Context(), query, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return v
}

func (w *world) newNode(name string) uuid.UUID {
	w.t.Helper()
	return w.insert(`insert into nodes (id, team_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, $3, 'docker', now(), '', now(), '')`, w.team, name)
}

func (w *world) project(name string) uuid.UUID {
	w.t.Helper()
	return w.insert(`insert into projects (id, team_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, $3, 'versioned', now(), '', now(), '')`, w.team, name)
}

// version makes a version with images that are called as their containers.
func (w *world) version(project uuid.UUID, kind string, parent *uuid.UUID, images ...string) uuid.UUID {
	w.t.Helper()
	id := w.insert(`insert into versions (id, project_id, parent_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, $3, gen_random_uuid()::text, $4, now(), '', now(), '')`, project, parent, kind)
	for i, name := range images {
		w.image(id, i+1, name, spec.Container{})
	}
	return id
}

// image adds an image; like every image's, its configuration has a name.
func (w *world) image(version uuid.UUID, position int, name string, config spec.Container) uuid.UUID {
	w.t.Helper()
	text := w.encode(name, config)
	return w.insert(`insert into images (id, version_id, registry_id, name, tag, position, config, created_at, updated_at)
		values ($1, $2, $3, $4, '1.0', $5, $6, now(), now())`, version, w.registry, name, position, text)
}

// configure replaces the configuration of a version's image.
func (w *world) configure(version uuid.UUID, name string, config spec.Container) {
	w.t.Helper()
	w.exec("update images set config = $3 where version_id = $1 and name = $2", version, name, w.encode(name, config))
}

func (w *world) encode(name string, config spec.Container) string {
	w.t.Helper()
	if config.Name == nil {
		config.Name = ptr(path.Base(name))
	}
	text, err := protojson.Marshal(specpb.ContainerToProto(config))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// create places a version on the world's node.
func (w *world) create(version uuid.UUID, prefix string) deployment.Deployment {
	w.t.Helper()
	d, err := w.Create(w.ctx, deployment.Draft{VersionID: version, NodeID: w.node, Prefix: prefix})
	if err != nil {
		w.t.Fatalf("create the deployment: %v", err)
	}
	return d
}

// start starts a whole deployment and returns the number of the release.
func (w *world) start(d deployment.Deployment) int64 {
	w.t.Helper()
	number, err := w.Start(w.ctx, d.ID, nil)
	if err != nil {
		w.t.Fatalf("start the deployment: %v", err)
	}
	return number
}

// report has the node's agent tell a phase of what is assigned to a deployment.
func (w *world) report(d deployment.Deployment, phase workload.Phase, failure *workload.Failure) {
	w.t.Helper()
	a := w.assignment(d.Prefix)
	status := deployment.Status{DeploymentID: d.ID, Generation: a.Generation, Phase: phase, Failure: failure}
	if err := w.RecordProgress(w.t.Context(), w.node, []deployment.Status{status}, nil); err != nil {
		w.t.Fatalf("record %s: %v", phase, err)
	}
}

// deploy starts a deployment and lets it come to a phase.
func (w *world) deploy(d deployment.Deployment, phase workload.Phase) {
	w.t.Helper()
	w.start(d)
	var failure *workload.Failure
	if phase == workload.PhaseFailed {
		failure = &workload.Failure{Step: workload.StepHealth, Err: errors.New("not healthy")}
	}
	w.report(d, phase, failure)
}

func (w *world) set() deployment.Set {
	w.t.Helper()
	set, err := w.AssignmentSet(w.t.Context(), w.node)
	if err != nil {
		w.t.Fatalf("read the node's assignments: %v", err)
	}
	return set
}

// assignment returns what the prefix should run; the zero value when nothing
// is said of it.
func (w *world) assignment(prefix string) deployment.Assignment {
	w.t.Helper()
	for _, a := range w.set().Assignments {
		if a.Prefix == prefix {
			return a
		}
	}
	return deployment.Assignment{}
}

func (w *world) wantState(d deployment.Deployment, want deployment.State) {
	w.t.Helper()
	got, err := w.Get(w.ctx, d.ID)
	if err != nil {
		w.t.Fatalf("get the deployment: %v", err)
	}
	if got.State != want {
		w.t.Errorf("the deployment is %s, want %s", got.State, want)
	}
}

// outcomes returns the outcomes of a deployment's releases, newest first.
func (w *world) outcomes(d deployment.Deployment) []deployment.Outcome {
	w.t.Helper()
	releases, err := w.Releases(w.ctx, d.ID)
	if err != nil {
		w.t.Fatalf("list the releases: %v", err)
	}
	list := []deployment.Outcome{}
	for _, r := range releases {
		list = append(list, r.Outcome)
	}
	return list
}

func (w *world) log(d deployment.Deployment) []deployment.LogEntry {
	w.t.Helper()
	entries, _, err := w.Log(w.ctx, d.ID, deployment.LogQuery{Take: deployment.MaxLogPage})
	if err != nil {
		w.t.Fatalf("read the log: %v", err)
	}
	return entries
}

// wantError checks the kind of an error and the field it names.
func wantError(t *testing.T, err error, kind apperr.Kind, field string) *apperr.Error {
	t.Helper()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Field != field {
		t.Fatalf("got error %v, want %s of field %q", err, kind, field)
	}
	return e
}

func ptr[T any](v T) *T { return &v }
