package teamtest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/spec"
)

// Node adds a Docker node to the team in ctx and returns its id.
func Node(ctx context.Context, t testing.TB, db *postgres.DB) uuid.UUID {
	t.Helper()
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := node.Node{ID: newID(t), TeamID: scope.ID, Name: "node " + newID(t).String(), Type: node.Docker, CreatedAt: now(), UpdatedAt: now()}
	if err := db.InsertNode(ctx, n); err != nil {
		t.Fatalf("make a node: %v", err)
	}
	return n.ID
}

// Deploy places a version on a node, as it is in a state, and returns the
// deployment; the version gets an image if it has none. No node is asked to run
// it before Assign.
func Deploy(ctx context.Context, t testing.TB, db *postgres.DB, versionID, nodeID uuid.UUID, state deployment.State) deployment.Deployment {
	t.Helper()
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := newID(t)
	d := deployment.Deployment{
		ID: id, TeamID: scope.ID, Version: deployment.Ref{ID: versionID}, Node: deployment.Ref{ID: nodeID},
		Prefix: "p" + id.String()[24:], Note: "by a test", State: state, CreatedAt: now(), UpdatedAt: now(),
		Policy: spec.Policy{OnFailure: spec.OnFailureRollback},
	}
	if err := db.InsertDeployment(ctx, d, images(ctx, t, db, versionID)); err != nil {
		t.Fatalf("make a deployment: %v", err)
	}
	return d
}

// Assign asks a deployment's node to run a release of it.
func Assign(ctx context.Context, t testing.TB, db *postgres.DB, d deployment.Deployment) {
	t.Helper()
	r := deployment.Release{
		ID: newID(t), DeploymentID: d.ID, Number: 1, Spec: spec.Deployment{ID: d.ID.String(), Prefix: d.Prefix},
		Trigger: deployment.TriggerStart, Outcome: deployment.OutcomePending, CreatedAt: now(),
	}
	if err := db.InsertRelease(ctx, r); err != nil {
		t.Fatalf("make a release: %v", err)
	}
	a := deployment.Assignment{Prefix: d.Prefix, Generation: 1, DeploymentID: d.ID, ReleaseID: r.ID}
	if err := db.PutAssignment(ctx, d.Node.ID, a, now()); err != nil {
		t.Fatalf("assign the release: %v", err)
	}
}

// Unassign asks a deployment's node to run nothing under its prefix any more.
func Unassign(ctx context.Context, t testing.TB, db *postgres.DB, d deployment.Deployment) {
	t.Helper()
	a := deployment.Assignment{Prefix: d.Prefix, Generation: 2, DeploymentID: d.ID, Tombstone: "test"}
	if err := db.PutAssignment(ctx, d.Node.ID, a, now()); err != nil {
		t.Fatalf("empty the prefix: %v", err)
	}
}

// Registry adds a registry to the team in ctx and returns it.
func Registry(ctx context.Context, t testing.TB, db *postgres.DB) registry.Registry {
	t.Helper()
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r := registry.Registry{
		ID: newID(t), TeamID: scope.ID, Name: "registry " + newID(t).String(),
		Details:   registry.Details{Type: registry.V2, URL: "registry.example.com"},
		CreatedAt: now(), UpdatedAt: now(), SealedPassword: []byte{},
	}
	if err := db.InsertRegistry(ctx, r); err != nil {
		t.Fatalf("make a registry: %v", err)
	}
	return r
}

// images returns the ids of a version's images, of which there is one at least.
func images(ctx context.Context, t testing.TB, db *postgres.DB, versionID uuid.UUID) []uuid.UUID {
	t.Helper()
	list, err := db.ListImages(ctx, versionID)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		name := "app"
		list = []image.Image{{
			ID: newID(t), VersionID: versionID, Registry: Registry(ctx, t, db), Name: name, Tag: "1", Position: 1,
			Config: spec.Container{Name: &name}, CreatedAt: now(), UpdatedAt: now(),
		}}
		if err := db.InsertImages(ctx, list); err != nil {
			t.Fatalf("make an image: %v", err)
		}
	}
	ids := make([]uuid.UUID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return ids
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
