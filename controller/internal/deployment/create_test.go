package deployment_test

import (
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestCreateMakesAnInstanceForEachImage(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "incremental", nil, "web", "db")
	d, err := w.Create(w.ctx, deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "shop", Note: "first"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.State != deployment.Preparing || got.Prefix != "shop" || got.Note != "first" || got.Tries != 0 ||
		got.Project.Name != "shop" || got.Version.Type != "incremental" || got.Node.Name != "node" || got.CreatedAt != d.CreatedAt {
		t.Errorf("got %+v", got.Deployment)
	}
	if len(got.Instances) != 2 || got.Instances[0].Image.Name != "web" || got.Instances[1].Image.Name != "db" || got.Instances[0].Config != nil {
		t.Errorf("got instances %+v", got.Instances)
	}
	if n := value[int](w, "select count(*) from audit_log where event = 'deployment.create' and team_id = $1", w.team); n != 1 {
		t.Errorf("the audit log has %d rows of it, want 1", n)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	bare := w.version(w.project("bare"), "rolling", nil)
	tests := map[string]struct {
		draft deployment.Draft
		kind  apperr.Kind
		field string
	}{
		"a prefix that is no DNS label": {deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "Shop"}, apperr.Invalid, "prefix"},
		"no prefix":                     {deployment.Draft{VersionID: version, NodeID: w.node}, apperr.Invalid, "prefix"},
		"a note that is too long":       {deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "a", Note: strings.Repeat("x", 5000)}, apperr.Invalid, "note"},
		"a version that is not there":   {deployment.Draft{VersionID: uuid.New(), NodeID: w.node, Prefix: "a"}, apperr.NotFound, "versionId"},
		"a node that is not there":      {deployment.Draft{VersionID: version, NodeID: uuid.New(), Prefix: "a"}, apperr.NotFound, "nodeId"},
		"a version that has no images":  {deployment.Draft{VersionID: bare, NodeID: w.node, Prefix: "a"}, apperr.Precondition, "versionId"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.Create(w.ctx, test.draft)
			wantError(t, err, test.kind, test.field)
		})
	}
}

func TestPrefixHoldsOneDeployment(t *testing.T) {
	tests := map[string]struct {
		kind string
		// first is how far the first deployment came; "" if it was not started.
		first workload.Phase
		// second names where the second goes: the same version, another version
		// of the project, or another project.
		second string
		reason string
		refuse bool
	}{
		"a rolling version again":                       {"rolling", "", "same", deployment.ReasonRollingVersion, true},
		"a rolling version that runs, again":            {"rolling", workload.PhaseSuccessful, "same", deployment.ReasonRollingVersion, true},
		"an incremental version that is in preparation": {"incremental", "", "same", deployment.ReasonPreparing, true},
		"an incremental version that runs, again":       {"incremental", workload.PhaseSuccessful, "same", "", false},
		"another version":                               {"incremental", "", "version", "", false},
		"another project":                               {"incremental", workload.PhaseFailed, "project", "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			project := w.project("shop")
			version := w.version(project, test.kind, nil, "web")
			first := w.create(version, "shop")
			if test.first != "" {
				w.deploy(first, test.first)
			}
			switch test.second {
			case "version":
				version = w.version(project, test.kind, nil, "web")
			case "project":
				version = w.version(w.project("other"), test.kind, nil, "web")
			}
			_, err := w.Create(w.ctx, deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "shop"})
			if !test.refuse {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			refused := wantError(t, err, apperr.Conflict, "prefix")
			if refused.Reason != test.reason || test.reason != "" && refused.Value != first.ID {
				t.Errorf("got reason %q and value %v, want %q and %v", refused.Reason, refused.Value, test.reason, first.ID)
			}
			elsewhere := w.newNode("elsewhere")
			if _, err := w.Create(w.ctx, deployment.Draft{VersionID: version, NodeID: elsewhere, Prefix: "shop"}); err != nil {
				t.Errorf("another node refuses it too: %v", err)
			}
		})
	}
}

// What was entered need not be entered again when a deployment is made in the
// stead of one that can't be changed any more.
func TestCreateCarriesTheSecretsOfItsPlace(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "incremental", nil, "web", "db")
	first := w.create(version, "shop")
	secrets := []spec.Secret{{ID: "1", Key: "PASSWORD", Required: true, Value: "sealed", Encrypted: true, PublicKey: "key"}}
	tty := true
	entered, err := w.Get(w.ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.UpdateInstance(w.ctx, entered.Instances[1].ID, spec.Container{TTY: &tty, Secrets: secrets}, now()); err != nil {
		t.Fatal(err)
	}
	w.exec("update deployments set status = 'successful' where id = $1", first.ID)

	for prefix, want := range map[string][]spec.Secret{"shop": secrets, "elsewhere": nil} {
		got, err := w.Get(w.ctx, w.create(version, prefix).ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Instances[0].Config != nil {
			t.Errorf("%s: an instance without secrets says %+v", prefix, got.Instances[0].Config)
		}
		var carried spec.Container
		if c := got.Instances[1].Config; c != nil {
			carried = *c
		}
		if !reflect.DeepEqual(carried, spec.Container{Secrets: want}) {
			t.Errorf("%s: carried %+v, want the secrets %+v alone", prefix, carried, want)
		}
	}
}

func TestOneOfManyCreationsWins(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	errs := make([]error, 6)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			_, errs[i] = w.Create(w.ctx, deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "shop"})
		})
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		wantError(t, err, apperr.Conflict, "prefix")
	}
	if made != 1 {
		t.Errorf("%d creations succeeded, want 1", made)
	}
}

func TestAnotherTeamSeesNothing(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	d := w.create(version, "shop")
	instances, err := w.db.ListInstances(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	stranger := teamtest.New(t, w.db)
	attempts := map[string]func() error{
		"get":            func() error { _, err := w.Get(stranger, d.ID); return err },
		"update":         func() error { return w.Update(stranger, d.ID, deployment.Change{Note: ptr("x")}) },
		"delete":         func() error { return w.Delete(stranger, d.ID) },
		"start":          func() error { _, err := w.Start(stranger, d.ID, nil); return err },
		"log":            func() error { _, _, err := w.Log(stranger, d.ID, deployment.LogQuery{Take: 1}); return err },
		"releases":       func() error { _, err := w.Releases(stranger, d.ID); return err },
		"instance":       func() error { _, err := w.GetInstance(stranger, d.ID, instances[0].ID); return err },
		"patch instance": func() error { return w.UpdateInstance(stranger, d.ID, instances[0].ID, nil) },
	}
	for name, attempt := range attempts {
		t.Run(name, func(t *testing.T) { wantError(t, attempt(), apperr.NotFound, "deploymentId") })
	}
	if list, err := w.List(stranger); err != nil || len(list) != 0 {
		t.Errorf("the other team lists %v, %v", list, err)
	}
	if _, err := w.Create(stranger, deployment.Draft{VersionID: version, NodeID: w.node, Prefix: "a"}); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("the other team places it: %v", err)
	}
	if _, err := w.List(teamtest.As(w.ctx, t, actor.Role("nobody"))); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("who has no role lists: %v", err)
	}
}
