package deployment_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func TestCredentialsTravelButAreNotKept(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web", "db"), "shop")
	w.auth = &spec.RegistryAuth{Server: "registry.example", Username: "u", Password: "hunter2"}
	w.start(d)
	for _, workload := range w.assignment("shop").Deployment.Workloads {
		if workload.Image.Auth == nil || *workload.Image.Auth != *w.auth || workload.Hash != spec.Hash(workload) {
			t.Errorf("got %+v", workload)
		}
	}
	if n := value[int](w, "select count(*) from releases where spec::text like '%hunter2%' or position('hunter2'::bytea in wire) > 0"); n != 0 {
		t.Error("the password is in the ledger")
	}
}

func TestAReleaseOfBeforeItsWireFormWasKeptIsTheSame(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web", "db")
	w.configure(version, "web", spec.Container{User: ptr(int64(7)), TTY: ptr(false)})
	w.start(w.create(version, "shop"))
	kept := h.update(h.ask())
	if n := value[int](w, "select count(*) from releases where wire is not null"); n != 1 {
		t.Errorf("%d of 1 wire forms are kept", n)
	}
	w.exec("update releases set wire = null")
	if before := h.update(h.ask()); kept.Standing != deployment.Behind || !reflect.DeepEqual(before, kept) {
		t.Errorf("from its JSON it is %+v, from its wire form %+v", before, kept)
	}
}

func TestCredentialsThatCannotBeHad(t *testing.T) {
	tests := map[string]struct {
		err  error
		fail bool
	}{
		"the registry is gone":      {apperr.New(apperr.NotFound, "gone"), false},
		"they can't be opened":      {errors.New("sealed with another key"), false},
		"the database is not there": {apperr.New(apperr.Unavailable, "away"), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start(w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop"))
			w.credentials = test.err
			set, err := w.AssignmentSet(t.Context(), w.node)
			switch {
			case test.fail && !errors.Is(err, test.err):
				t.Errorf("got %v, want %v", err, test.err)
			case !test.fail && (err != nil || set.Assignments[0].Deployment.Workloads[0].Image.Auth != nil):
				t.Errorf("got %+v, %v", set, err)
			}
		})
	}
}

func TestSetOfANode(t *testing.T) {
	w := newWorld(t)
	empty := w.set()
	lineage := value[string](w, "select value from settings where key = 'lineage'")
	if empty.Lineage != lineage || empty.Generation != 0 || len(empty.Assignments) != 0 {
		t.Errorf("got %+v of a node without deployments", empty)
	}
	version := w.version(w.project("shop"), "rolling", nil, "web")
	b, a := w.create(version, "b"), w.create(version, "a")
	w.start(b)
	w.start(a)
	set := w.set()
	if set.Generation != 2 || len(set.Assignments) != 2 || set.Assignments[0].Prefix != "a" || set.Assignments[0].Generation != 2 ||
		set.Assignments[1].Prefix != "b" || set.Assignments[1].Generation != 1 {
		t.Errorf("got %+v", set)
	}
	if _, err := w.AssignmentSet(t.Context(), uuid.New()); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("got %v of a node that is not there", err)
	}
}
