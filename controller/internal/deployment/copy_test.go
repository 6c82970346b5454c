package deployment_test

import (
	"reflect"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestCopyTakesWhatTheDeploymentSays(t *testing.T) {
	for name, elsewhere := range map[string]bool{"on the same node": false, "on another node": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.create(w.version(w.project("shop"), "rolling", nil, "web", "db"), "shop")
			environment := []spec.KeyValue{{ID: "1", Key: "STAGE", Value: "live"}}
			if err := w.Update(w.ctx, d.ID, deployment.Change{Environment: &environment, Note: ptr("first")}); err != nil {
				t.Fatal(err)
			}
			original, err := w.Get(w.ctx, d.ID)
			if err != nil {
				t.Fatal(err)
			}
			secret := spec.Secret{ID: "1", Key: "PASSWORD", Required: true, Value: "sealed", Encrypted: true, PublicKey: "key"}
			tty := true
			if err := w.db.UpdateInstance(w.ctx, original.Instances[1].ID, spec.Container{TTY: &tty, Secrets: []spec.Secret{secret}}, now()); err != nil {
				t.Fatal(err)
			}
			node := w.node
			if elsewhere {
				node = w.newNode("elsewhere")
				secret.Value, secret.Encrypted, secret.PublicKey = "", false, ""
			}

			made, err := w.Copy(w.ctx, d.ID, deployment.Draft{NodeID: node, Prefix: "shop-two", Note: "second"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.Get(w.ctx, made.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID == d.ID || got.Node.ID != node || got.Version.ID != d.Version.ID || got.Prefix != "shop-two" || got.Note != "second" ||
				got.State != deployment.Preparing || !reflect.DeepEqual(got.Environment, environment) {
				t.Errorf("copied %+v", got.Deployment)
			}
			if len(got.Instances) != 2 || got.Instances[0].Config != nil || got.Instances[1].Config == nil {
				t.Fatalf("copied instances %+v", got.Instances)
			}
			config := got.Instances[1].Config
			if config.TTY == nil || !*config.TTY || !reflect.DeepEqual(config.Secrets, []spec.Secret{secret}) {
				t.Errorf("copied configuration %+v, want the secret as %+v", config, secret)
			}
		})
	}
}

func TestCopyRefuses(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	d := w.create(w.version(project, "rolling", nil, "web"), "shop")
	stranger := teamtest.Node(teamtest.New(t, w.db), t, w.db)
	tests := map[string]struct {
		draft deployment.Draft
		kind  apperr.Kind
		field string
	}{
		"a prefix that is no DNS label":    {deployment.Draft{NodeID: w.node, Prefix: "Shop"}, apperr.Invalid, "prefix"},
		"a node that is not there":         {deployment.Draft{NodeID: uuid.New(), Prefix: "a"}, apperr.NotFound, "nodeId"},
		"a node of another team":           {deployment.Draft{NodeID: stranger, Prefix: "a"}, apperr.NotFound, "nodeId"},
		"the place of the rolling version": {deployment.Draft{NodeID: w.node, Prefix: "shop"}, apperr.Conflict, "prefix"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.Copy(w.ctx, d.ID, test.draft)
			wantError(t, err, test.kind, test.field)
		})
	}
	_, err := w.Copy(w.ctx, uuid.New(), deployment.Draft{NodeID: w.node, Prefix: "a"})
	wantError(t, err, apperr.NotFound, "deploymentId")
	other := w.create(w.version(w.project("other"), "rolling", nil, "web"), "other")
	_, err = w.Copy(w.ctx, other.ID, deployment.Draft{NodeID: w.node, Prefix: "shop"})
	wantError(t, err, apperr.Conflict, "prefix")
	w.start(d)
	_, err = w.Copy(w.ctx, d.ID, deployment.Draft{NodeID: w.node, Prefix: "a"})
	wantError(t, err, apperr.Precondition, "status")
}

func TestCopyOfAnIncrementalVersionWaitsForItsPlace(t *testing.T) {
	tests := map[string]struct {
		phase  workload.Phase
		refuse bool
	}{
		"in preparation": {"", true},
		"in progress":    {workload.PhaseInProgress, true},
		"successful":     {workload.PhaseSuccessful, false},
		"failed":         {workload.PhaseFailed, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			version := w.version(w.project("shop"), "incremental", nil, "web")
			there, origin := w.create(version, "there"), w.create(version, "origin")
			if test.phase != "" {
				w.deploy(there, test.phase)
			}
			_, err := w.Copy(w.ctx, origin.ID, deployment.Draft{NodeID: w.node, Prefix: "there"})
			if !test.refuse {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if e := wantError(t, err, apperr.Conflict, "prefix"); e.Reason != deployment.ReasonPreparing || e.Value != there.ID {
				t.Errorf("got reason %q and value %v", e.Reason, e.Value)
			}
		})
	}
}
