package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/workload"
)

type deploymentEvent = deployment.Event

// deployed places a deployment on the session's node.
func (w *world) deployed(s agent.Session) uuid.UUID {
	w.t.Helper()
	project, version, id := uuid.New(), uuid.New(), uuid.New()
	w.exec(`insert into projects (id, team_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, gen_random_uuid()::text, 'versioned', now(), '', now(), '')`, project, w.team)
	w.exec(`insert into versions (id, project_id, name, type, created_at, created_by, updated_at, updated_by)
		values ($1, $2, '1', 'rolling', now(), '', now(), '')`, version, project)
	w.exec(`insert into deployments (id, team_id, version_id, node_id, prefix, status, environment, created_at, created_by, updated_at, updated_by)
		values ($1, $2, $3, $4, 'shop', 'preparing', '[]', now(), '', now(), '')`, id, w.team, version, s.NodeID)
	return id
}

func exit(sequence uint64, d uuid.UUID) report.Fact {
	return report.Fact{
		Sequence: sequence, At: now().Add(-time.Hour), Container: workload.ContainerID{Prefix: "shop", Name: "web"}, EngineID: "e",
		DeploymentID: d.String(), Release: 2, Exit: &report.Exit{Code: 137, OOMKilled: true, Restarts: 3, Reason: "Evicted: no room", LogTail: []string{"last words"}},
	}
}

func TestFactsAreKeptOnce(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	d := w.deployed(s)
	x := w.open(s)
	x.tell(report.Report{Sequence: 1, SpoolID: "spool", Facts: []report.Fact{exit(1, d), exit(2, d)}})
	if fact := x.await(1); fact != 2 {
		t.Errorf("fact %d is committed, want 2", fact)
	}
	// Again on the same session, and on the next, with a new one.
	x.tell(report.Report{Sequence: 2, SpoolID: "spool", Facts: []report.Fact{exit(1, d), exit(2, d)}})
	x.await(2)
	s = w.again(s)
	x = w.open(s)
	x.tell(report.Report{Sequence: 3, SpoolID: "spool", Facts: []report.Fact{exit(2, d), exit(3, d)}})
	if fact := x.await(3); fact != 3 {
		t.Errorf("fact %d is committed, want 3", fact)
	}
	// A spool that was lost begins anew; one that comes back adds nothing.
	s = w.again(s)
	x = w.open(s)
	x.tell(report.Report{Sequence: 4, SpoolID: "other", Facts: []report.Fact{exit(1, d)}})
	if fact := x.await(4); fact != 1 {
		t.Errorf("fact %d is committed, want 1", fact)
	}
	s = w.again(s)
	x = w.open(s)
	x.tell(report.Report{Sequence: 5, SpoolID: "spool", Facts: []report.Fact{exit(1, d)}})
	x.await(5)
	if got := value[string](w, "select string_agg(spool_id || sequence, ' ' order by id) from container_events"); got != "spool1 spool2 spool3 other1" {
		t.Errorf("kept are %s", got)
	}

	facts, total, err := w.store.ListFacts(t.Context(), s.NodeID, report.FactQuery{Take: 1})
	if err != nil || total != 4 || len(facts) != 1 {
		t.Fatalf("%d of %d, %v", len(facts), total, err)
	}
	f := facts[0]
	if f.Exit == nil || f.Exit.Code != 137 || !f.Exit.OOMKilled || f.Exit.Restarts != 3 || f.Exit.Reason != "Evicted: no room" || fmt.Sprint(f.Exit.LogTail) != "[last words]" ||
		f.DeploymentID != d.String() || f.Release != 2 || f.Container.Name != "web" {
		t.Errorf("the fact is %+v, %+v", f, f.Exit)
	}
	lines := value[string](w, "select lines::text from deployment_events order by id limit 1")
	if !strings.Contains(lines, "container shop-web exited with code 137, out of memory (restarted 3 times): Evicted: no room") || !strings.Contains(lines, "last words") {
		t.Errorf("the deployment's log says %s", lines)
	}
	if n := value[int](w, "select count(*) from deployment_events"); n != 4 && n != 5 {
		t.Errorf("%d entries in the deployment's log", n)
	}
}

func TestLostFactsAreShown(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	x.tell(report.Report{Sequence: 1, SpoolID: "spool", Facts: []report.Fact{{Sequence: 9, Lost: 41}}})
	x.await(1)
	facts, _, err := w.store.ListFacts(t.Context(), s.NodeID, report.FactQuery{Take: 10})
	if err != nil || len(facts) != 1 || facts[0].Lost != 41 || facts[0].Exit != nil {
		t.Errorf("%+v, %v", facts, err)
	}
	if got := value[string](w, "select event || data::text from node_events"); got != `factsLost{"count": 41}` {
		t.Errorf("the history says %s", got)
	}
}

func TestFactsOfANodeAreBounded(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	d := w.deployed(s)
	x := w.open(s)
	const reports, each = 13, 100
	for n := range uint64(reports) {
		var facts []report.Fact
		for i := uint64(1); i <= each; i++ {
			facts = append(facts, exit(n*each+i, d))
		}
		x.tell(report.Report{Sequence: n + 1, SpoolID: "spool", Facts: facts})
	}
	x.await(reports)
	least, most := value[int64](w, "select min(sequence) from container_events"), value[int64](w, "select max(sequence) from container_events")
	if most != reports*each || least != reports*each-report.MaxFacts+1 {
		t.Errorf("kept are %d to %d", least, most)
	}
}
