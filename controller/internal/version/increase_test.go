package version_test

import (
	"reflect"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func TestIncreaseTakesImagesAndDeploymentsAlong(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, version.Incremental, "1.0")
	node := teamtest.Node(f.ctx, t, f.db)
	d := teamtest.Deploy(f.ctx, t, f.db, first.ID, node, deployment.Successful)
	d.Environment = []spec.KeyValue{{ID: "1", Key: "STAGE", Value: "live"}}
	d.Note = "live"
	d.Policy = spec.Policy{OnFailure: spec.OnFailureKeep, HealthWindowSeconds: 90, DrainSeconds: 5, Parallelism: 2, Drift: spec.DriftCorrect}
	if err := f.db.UpdateDeployment(f.ctx, d); err != nil {
		t.Fatal(err)
	}
	instances, err := f.db.ListInstances(f.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	own := spec.Container{Secrets: []spec.Secret{{ID: "1", Key: "PASSWORD", Value: "sealed", Encrypted: true, PublicKey: "key"}}}
	if err := f.db.UpdateInstance(f.ctx, instances[0].ID, own, now()); err != nil {
		t.Fatal(err)
	}

	second, err := f.Increase(f.ctx, f.versioned, first.ID, version.Draft{Name: "1.1", Changelog: "better"})
	if err != nil {
		t.Fatal(err)
	}
	if second.Type != version.Incremental || second.Default || second.Parent != first.ID || second.Changelog != "better" {
		t.Errorf("made %+v", second)
	}
	stored, deployments, err := f.Get(f.ctx, f.versioned, second.ID)
	if err != nil || len(deployments) != 1 {
		t.Fatalf("deployments = %+v, %v; want one", deployments, err)
	}
	if state := stored.State(); !state.Increasable || !state.Mutable {
		t.Errorf("the new version's state is %+v", state)
	}
	scope := f.team(t)
	copied, err := f.db.FindDeployment(f.ctx, scope, deployments[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if copied.ID == d.ID || copied.Node.ID != node || copied.Prefix != d.Prefix || copied.Note != "live" ||
		copied.State != deployment.Preparing || copied.Tries != 0 || copied.Policy != d.Policy || !reflect.DeepEqual(copied.Environment, d.Environment) {
		t.Errorf("copied %+v", copied)
	}
	copies, err := f.db.ListInstances(f.ctx, copied.ID)
	if err != nil || len(copies) != 1 {
		t.Fatalf("instances = %+v, %v; want one", copies, err)
	}
	if copies[0].Image.ID == instances[0].Image.ID || copies[0].Config == nil || !reflect.DeepEqual(copies[0].Config.Secrets, own.Secrets) {
		t.Errorf("copied the instance as %+v, want its own image and the same secrets", copies[0])
	}
	earlier, _, err := f.Get(f.ctx, f.versioned, first.ID)
	if err != nil || earlier.State().Mutable || earlier.State().Increasable {
		t.Errorf("the earlier version is %+v, %v; want it frozen", earlier.State(), err)
	}
}

func TestIncreaseTakesTheNewestDeploymentOfEachPlace(t *testing.T) {
	tests := map[deployment.State]bool{
		deployment.Preparing: true, deployment.Successful: true, deployment.Failed: true,
		deployment.InProgress: false, deployment.Obsolete: false, deployment.Downgraded: false,
	}
	for state, taken := range tests {
		t.Run(string(state), func(t *testing.T) {
			f := newFixture(t)
			v := f.create(t, version.Incremental, "1.0")
			node := teamtest.Node(f.ctx, t, f.db)
			older := teamtest.Deploy(f.ctx, t, f.db, v.ID, node, state)
			newer := teamtest.Deploy(f.ctx, t, f.db, v.ID, node, state)
			newer.Prefix, newer.Note = older.Prefix, "newer"
			if err := f.db.UpdateDeployment(f.ctx, newer); err != nil {
				t.Fatal(err)
			}
			next, err := f.Increase(f.ctx, f.versioned, v.ID, version.Draft{Name: "1.1"})
			if err != nil {
				t.Fatal(err)
			}
			_, list, err := f.Get(f.ctx, f.versioned, next.ID)
			if err != nil {
				t.Fatal(err)
			}
			if taken && (len(list) != 1 || list[0].Note != "newer") || !taken && len(list) != 0 {
				t.Errorf("took %+v", list)
			}
		})
	}
}

func TestIncreaseRefuses(t *testing.T) {
	f := newFixture(t)
	rolling, first := f.create(t, version.Rolling, "main"), f.create(t, version.Incremental, "1.0")
	hidden, err := f.List(f.ctx, f.simple)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Increase(f.ctx, f.versioned, first.ID, version.Draft{Name: "1.1"}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		project, id uuid.UUID
		name        string
		kind        apperr.Kind
		field       string
	}{
		"a rolling version":                    {f.versioned, rolling.ID, "2.0", apperr.Precondition, "type"},
		"the version of a versionless project": {f.simple, hidden[0].ID, "2.0", apperr.Precondition, ""},
		"a version that has a next one":        {f.versioned, first.ID, "2.0", apperr.Conflict, "versionId"},
		"a version that is not there":          {f.versioned, uuid.New(), "2.0", apperr.NotFound, "versionId"},
		"no name":                              {f.versioned, first.ID, "", apperr.Invalid, "name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := f.Increase(f.ctx, test.project, test.id, version.Draft{Name: test.name})
			wantError(t, err, test.kind, test.field)
		})
	}
	last := f.create(t, version.Incremental, "3.0")
	_, err = f.Increase(f.ctx, f.versioned, last.ID, version.Draft{Name: "main"})
	wantError(t, err, apperr.Conflict, "name")
}
