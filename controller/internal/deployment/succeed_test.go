package deployment_test

import (
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/shared/workload"
)

// running starts a version on so many new nodes, and returns what their agents
// tell when it runs.
func (w *world) running(version uuid.UUID, nodes int) []deployment.NodeProgress {
	w.t.Helper()
	list := make([]deployment.NodeProgress, nodes)
	for i := range list {
		w.node = w.newNode(uuid.NewString())
		d := w.create(version, "shop")
		w.start(d)
		list[i] = deployment.NodeProgress{NodeID: w.node, Statuses: []deployment.Status{{
			DeploymentID: d.ID, Generation: w.assignment("shop").Generation, Phase: workload.PhaseSuccessful,
		}}}
	}
	return list
}

func TestSuccessesOfManyNodesTakeAsFewStatementsAsOne(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	record := func(list []deployment.NodeProgress) int {
		t.Helper()
		ctx, statements := postgres.CountStatements(t.Context())
		if err := w.RecordNodes(ctx, list); err != nil {
			t.Fatal(err)
		}
		return statements()
	}
	one := record(w.running(version, 1))
	if many := record(w.running(version, 12)); many != one {
		t.Errorf("12 nodes took %d statements, one took %d", many, one)
	}
	if n := value[int](w, "select count(*) from deployments d join releases r on r.deployment_id = d.id where d.status = 'successful' and r.outcome = 'successful'"); n != 13 {
		t.Errorf("%d of 13 run", n)
	}
	if n := value[int](w, "select count(*) from deployment_events where type = 'deployment-status' and status = 'successful'"); n != 13 {
		t.Errorf("%d of 13 logs say so", n)
	}
}

func TestOneNodesStaleSuccessChangesNothingAndHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	list := w.running(w.version(w.project("shop"), "rolling", nil, "web"), 4)
	var told []deployment.Succeeded
	for i, n := range list[:3] {
		s := deployment.Succeeded{
			Place: deployment.Place{NodeID: n.NodeID, DeploymentID: n.Statuses[0].DeploymentID}, Generation: n.Statuses[0].Generation,
		}
		switch i {
		case 0: // of what was wanted before
			s.Generation--
		case 1: // of another node's deployment, which that says nothing of
			s.DeploymentID, s.Generation = list[3].Statuses[0].DeploymentID, list[3].Statuses[0].Generation
		}
		told = append(told, s)
	}
	serving, err := w.db.SucceedReleases(t.Context(), told, now())
	if err != nil {
		t.Fatal(err)
	}
	if len(serving) != 1 || serving[0].ID != told[2].DeploymentID {
		t.Errorf("serving are %+v, want only %s", serving, told[2].DeploymentID)
	}
	if n := value[int](w, "select count(*) from releases where outcome = 'successful'"); n != 1 {
		t.Errorf("%d releases run", n)
	}
	if again, err := w.db.SucceedReleases(t.Context(), told, now()); err != nil || len(again) != 0 {
		t.Errorf("told again, there are %+v, %v", again, err)
	}
}
