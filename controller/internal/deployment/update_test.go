package deployment_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestUpdateChangesWhatIsSaid(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	steps := []struct {
		change deployment.Change
		note   string
		prefix string
		keys   []string
	}{
		{deployment.Change{Note: ptr("hello")}, "hello", "shop", nil},
		{deployment.Change{Environment: ptr(pairs("A", "1", "B", ""))}, "hello", "shop", []string{"A=1", "B="}},
		{deployment.Change{Prefix: ptr("store")}, "hello", "store", []string{"A=1", "B="}},
		{deployment.Change{Note: ptr(""), Environment: ptr([]spec.KeyValue{})}, "", "store", nil},
		{deployment.Change{}, "", "store", nil},
	}
	for _, step := range steps {
		if err := w.Update(w.ctx, d.ID, step.change); err != nil {
			t.Fatal(err)
		}
		got, err := w.Get(w.ctx, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		keys := environment(spec.Workload{Container: spec.Container{Environment: got.Environment}})
		if got.Note != step.note || got.Prefix != step.prefix || !slices.Equal(keys, step.keys) {
			t.Errorf("got note %q, prefix %q, environment %v; want %+v", got.Note, got.Prefix, keys, step)
		}
	}
}

func TestUpdateRefuses(t *testing.T) {
	tests := map[string]struct {
		kind   string
		phase  workload.Phase // "" when it was not started
		change deployment.Change
		as     apperr.Kind
		field  string
	}{
		"a line break in a key":   {"rolling", "", deployment.Change{Environment: ptr(pairs("A\nB", "1"))}, apperr.Invalid, "environment[0].key"},
		"white space in a key":    {"rolling", "", deployment.Change{Environment: ptr(pairs("A", "1", "A B", "1"))}, apperr.Invalid, "environment[1].key"},
		"a key twice":             {"rolling", "", deployment.Change{Environment: ptr(pairs("A", "1", "A", "2"))}, apperr.Invalid, "environment[1].key"},
		"a bad prefix":            {"rolling", "", deployment.Change{Prefix: ptr("-a")}, apperr.Invalid, "prefix"},
		"a NUL in the note":       {"rolling", "", deployment.Change{Note: ptr("a\x00")}, apperr.Invalid, "note"},
		"while in progress":       {"rolling", workload.PhaseInProgress, deployment.Change{Note: ptr("a")}, apperr.Precondition, "status"},
		"of history":              {"incremental", workload.PhaseSuccessful, deployment.Change{Note: ptr("a")}, apperr.Precondition, "status"},
		"a prefix that is in use": {"rolling", workload.PhaseSuccessful, deployment.Change{Prefix: ptr("store")}, apperr.Precondition, "prefix"},
		"a prefix that is taken":  {"rolling", "", deployment.Change{Prefix: ptr("taken")}, apperr.Conflict, "prefix"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			version := w.version(w.project("shop"), test.kind, nil, "web")
			d := w.create(version, "shop")
			w.create(version, "taken")
			if test.phase != "" {
				w.deploy(d, test.phase)
			}
			err := w.Update(w.ctx, d.ID, test.change)
			wantError(t, err, test.as, test.field)
		})
	}
}

func TestInstanceKeepsWhatItSays(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	id := detail.Instances[0].ID
	change := func(f func(*spec.Container)) error {
		return w.UpdateInstance(w.ctx, d.ID, id, func(c spec.Container) spec.Container { f(&c); return c })
	}
	if err := change(func(c *spec.Container) { c.Name = ptr("front"); c.Networks = []spec.Key{} }); err != nil {
		t.Fatal(err)
	}
	if err := change(func(c *spec.Container) { c.TTY = ptr(true) }); err != nil {
		t.Fatal(err)
	}
	got, err := w.GetInstance(w.ctx, d.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Config; c == nil || *c.Name != "front" || !*c.TTY || c.Networks == nil || c.Ports != nil {
		t.Errorf("got %+v: an emptied list must stay apart from one that nothing is said of", c)
	}
	err = change(func(c *spec.Container) { c.Ports = []spec.Port{{Internal: 0}} })
	wantError(t, err, apperr.Invalid, "config.ports[0].internal")
	_, err = w.GetInstance(w.ctx, d.ID, uuid.New())
	wantError(t, err, apperr.NotFound, "instanceId")
	w.deploy(d, workload.PhaseInProgress)
	wantError(t, change(func(*spec.Container) {}), apperr.Precondition, "status")
}
