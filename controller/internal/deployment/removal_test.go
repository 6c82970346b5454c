package deployment_test

import (
	"strings"
	"testing"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
)

func TestAStartThatRemovesManyWorkloadsMustBeConfirmed(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	large := w.version(project, "rolling", nil, "a", "b", "c", "d", "e", "f")
	small := w.version(project, "rolling", nil, "a")
	medium := w.version(project, "rolling", nil, "a", "b", "c")
	all := w.create(large, "shop")
	w.start(all)

	// Three may go.
	w.start(w.create(medium, "shop"))
	w.start(all)

	d := w.create(small, "shop")
	before := w.set()
	_, err := w.Start(w.ctx, d.ID, nil)
	e := wantError(t, err, apperr.Precondition, "confirmRemoval")
	for _, part := range []string{"5 of the 6", "shop-b, shop-c, shop-d, shop-e, shop-f", "confirmRemoval=true"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("%q does not say %q", e.Message, part)
		}
	}
	if e.Reason != deployment.ReasonRemoval || w.set().Generation != before.Generation {
		t.Errorf("reason %q, generation %d after %d", e.Reason, w.set().Generation, before.Generation)
	}

	if _, err := w.StartWith(w.ctx, d.ID, deployment.StartOptions{ConfirmRemoval: true}); err != nil {
		t.Fatal(err)
	}
	if !w.assignment("shop").RemovalConfirmed {
		t.Error("the agent is not told that it was confirmed")
	}
	// The next one confirms nothing.
	w.start(d)
	if w.assignment("shop").RemovalConfirmed {
		t.Error("the confirmation goes on to the next release")
	}
}

func TestAFifthOfALargeNodeMayGoUnconfirmed(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	five := w.version(project, "rolling", nil, "a", "b", "c", "d", "e")
	one := w.version(project, "rolling", nil, "a")
	for _, prefix := range []string{"p1", "p2", "p3", "p4"} {
		w.start(w.create(five, prefix))
	}
	w.start(w.create(one, "p1")) // 4 of 20
	_, err := w.Start(w.ctx, w.create(one, "p2").ID, nil)
	wantError(t, err, apperr.Precondition, "confirmRemoval") // 4 of 16
}

func TestDeletingADeploymentConfirmsItself(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	d := w.create(w.version(w.project("shop"), "rolling", nil, "a", "b", "c", "d", "e", "f"), "shop")
	w.start(d)
	h.take(deployment.Behind)
	if err := w.Delete(w.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	h.take(deployment.Behind) // the agent's own guard lets it pass
}
