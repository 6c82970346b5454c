package report_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestWhatIsAcknowledgedIsStored(t *testing.T) {
	w := newWorld(t)
	const nodes = 20
	var sessions []agent.Session
	var lines []*session
	for i := range nodes {
		s := w.node(fmt.Sprint("node-", i))
		sessions, lines = append(sessions, s), append(lines, w.open(s))
	}
	web, db := container("web"), container("db")
	web.Leftover, web.OOMKilled, web.RestartCount, web.ExitCode = true, true, 4, 137
	web.State, web.FinishedAt = spec.StateExited, web.StartedAt.Add(1)
	web.FinishedAt = web.StartedAt.Add(1000)
	for _, x := range lines {
		x.tell(report.Report{Sequence: 1, Containers: list(db, web)})
	}
	for i, x := range lines {
		x.await(1)
		if got, want := w.stored(sessions[i]), []workload.Container{db, web}; !reflect.DeepEqual(got, want) {
			t.Fatalf("stored were\n%+v\nwant\n%+v", got, want)
		}
	}
	if n := w.store.transactions.Load(); n >= nodes {
		t.Errorf("%d reports took %d transactions", nodes, n)
	}
}

func TestAReportThatSaysNothingNewIsAnsweredWithoutTheDatabase(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	x.tell(report.Report{Sequence: 1, Containers: list(container("web"))})
	x.await(1)
	before := w.store.transactions.Load()
	w.store.fail(func() error { return errors.New("nobody should ask") })
	for n := uint64(2); n < 50; n++ {
		x.tell(report.Report{Sequence: n, Containers: list(container("web"))})
		x.await(n)
	}
	x.tell(report.Report{Sequence: 50}) // not even a list
	x.await(50)
	x.tell(report.Report{Sequence: 7, Containers: list()}) // one that was answered already
	if n := w.store.transactions.Load(); n != before {
		t.Errorf("it took %d transactions", n-before)
	}
	w.store.fail(func() error { return nil })
	if stored := value[int64](w, "select status_sequence from agents"); stored != 1 {
		t.Errorf("the stored sequence is %d, want 1", stored)
	}

	// What comes after a lost memory is compared with what is stored: the same
	// list rewrites nothing, a report that was answered but not written counts.
	rewritten := value[string](w, "select xmin::text from containers")
	s = w.again(s)
	if s.StatusSequence != 1 {
		t.Fatalf("the session begins at %d", s.StatusSequence)
	}
	x = w.open(s)
	x.tell(report.Report{Sequence: 51, Containers: list(container("web"))})
	x.await(51)
	if now := value[string](w, "select xmin::text from containers"); now != rewritten {
		t.Error("an unchanged container was written again")
	}
	x.tell(report.Report{Sequence: 52, Containers: list(container("db"))})
	x.await(52)
	if got := w.stored(s); len(got) != 1 || got[0].ID.Name != "db" {
		t.Errorf("stored are %+v", got)
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	a, b, c := container("a"), container("b"), container("c")
	x.tell(report.Report{Sequence: 1, Containers: list(a, b, c)})
	x.await(1)
	version := func(name string) string {
		return value[string](w, "select coalesce((select xmin::text from containers where name = $1), '')", name)
	}
	was := map[string]string{"a": version("a"), "b": version("b"), "c": version("c")}

	b.Health = "unhealthy"
	x.tell(report.Report{Sequence: 2, Containers: list(container("d"), b, a)})
	x.await(2)
	if version("a") != was["a"] || version("b") == was["b"] || version("c") != "" || version("d") == "" {
		t.Errorf("rows are a %s, b %s, c %s, d %s; were %v", version("a"), version("b"), version("c"), version("d"), was)
	}
	x.tell(report.Report{Sequence: 3, Containers: list()})
	x.await(3)
	if got := w.stored(s); len(got) != 0 {
		t.Errorf("stored are %+v", got)
	}
}

// TestRowsThatSomebodyElseWroteAreNotTrusted: a controller of the release
// before writes containers without their digest.
func TestRowsThatSomebodyElseWroteAreNotTrusted(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	x.tell(report.Report{Sequence: 1, Containers: list(container("web"))})
	x.await(1)
	s = w.again(s)
	w.exec("update containers set name = 'db', engine_id = 'id-db'")
	w.exec("update agents set containers_seen_at = now()")
	s = w.again(s)
	x = w.open(s)
	x.tell(report.Report{Sequence: 2, Containers: list(container("web"))})
	x.await(2)
	if got := w.stored(s); len(got) != 1 || got[0].ID.Name != "web" {
		t.Errorf("stored are %+v", got)
	}
}

func TestSessionsThatMayNotWriteAreRefusedAndHoldUpNobody(t *testing.T) {
	w := idleWorld(t)
	replaced, revoked, gone, fine := w.node("replaced"), w.node("revoked"), w.node("gone"), w.node("fine")
	lines := map[string]*session{}
	for name, s := range map[string]agent.Session{"replaced": replaced, "revoked": revoked, "gone": gone, "fine": fine} {
		lines[name] = w.open(s)
		lines[name].tell(report.Report{Sequence: 1, Containers: list(container(name))})
	}
	w.exec("update agents set epoch = 2 where id = $1", replaced.AgentID)
	w.exec("update agents set revoked_at = now() where id = $1", revoked.AgentID)
	w.exec("delete from nodes where id = $1", gone.NodeID)
	w.run()

	lines["fine"].await(1)
	for name, want := range map[string]string{"replaced": agent.ReasonReplaced, "revoked": agent.ReasonRevoked, "gone": agent.ReasonRevoked} {
		err := lines[name].refusal()
		var e *apperr.Error
		if !errors.As(err, &e) || e.Reason != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if err := lines[name].Report(t.Context(), report.Report{Sequence: 2}); err == nil {
			t.Errorf("%s: it may go on", name)
		}
	}
	if names := value[string](w, "select string_agg(name, ',') from containers"); names != "fine" {
		t.Errorf("stored are %s", names)
	}
}

func TestAReportThatCannotBeWrittenHoldsUpNobody(t *testing.T) {
	w := idleWorld(t)
	var lines []*session
	for i := range 9 {
		s := w.node(fmt.Sprint("node-", i))
		if i == 4 {
			w.progress.bad[s.NodeID] = errors.New("it can't be")
		}
		x := w.open(s)
		x.tell(report.Report{Sequence: 1, Containers: list(container("web")), Events: []deploymentEvent{{DeploymentID: uuid.New()}}})
		lines = append(lines, x)
	}
	w.run()
	for i, x := range lines {
		if i == 4 {
			if err := x.refusal(); err == nil || !strings.Contains(err.Error(), "it can't be") {
				t.Errorf("the bad report: %v", err)
			}
			continue
		}
		x.await(1)
	}
	if n := value[int](w, "select count(*) from containers"); n != 8 {
		t.Errorf("%d containers are stored, want 8", n)
	}
}

func TestReportsWaitForADatabaseThatIsAway(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	w.store.fail(func() error {
		if asked.Add(1) <= 2 {
			return apperr.New(apperr.Unavailable, "away")
		}
		return nil
	})
	x := w.open(w.node("node"))
	for n := uint64(1); n <= 5; n++ {
		x.tell(report.Report{Sequence: n, Containers: list(container(fmt.Sprint(n)))})
	}
	x.await(5)
	if name := value[string](w, "select string_agg(name, ',') from containers"); name != "5" {
		t.Errorf("stored is %s, want the latest", name)
	}
}

func TestAnAgentThatDoesNotWaitForAnswersWaitsForRoom(t *testing.T) {
	w := idleWorld(t)
	s := w.node("node")
	x := w.open(s)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var n uint64
	tooMany := errors.New("too many")
	for n < 100 {
		n++
		if n == 17 {
			cancel(tooMany)
		}
		if err := x.Report(ctx, report.Report{Sequence: n, Containers: list(container(fmt.Sprint(n)))}); err != nil {
			if !errors.Is(err, tooMany) {
				t.Fatal(err)
			}
			break
		}
	}
	if n != 17 {
		t.Fatalf("report %d had to wait, want 17", n)
	}
	w.run()
	x.tell(report.Report{Sequence: 17, Containers: list(container("17"))})
	x.await(17)
}

func TestWhatASessionToldBeforeItEndedIsWritten(t *testing.T) {
	w := idleWorld(t)
	s, other := w.node("node"), w.node("other")
	x, fenced := w.open(s), w.open(other)
	x.tell(report.Report{Sequence: 1, Containers: list(container("last"))})
	fenced.tell(report.Report{Sequence: 1, Containers: list(container("late"))})
	x.Close()
	fenced.Close()
	if err := x.Report(t.Context(), report.Report{Sequence: 2}); err == nil {
		t.Error("a closed line takes reports")
	}
	other = w.again(other)
	y := w.open(other)
	y.tell(report.Report{Sequence: 1, Containers: list(container("new"))})
	w.run()
	y.await(1)
	if names := value[string](w, "select string_agg(name, ',' order by name) from containers"); names != "last,new" {
		t.Errorf("stored are %s", names)
	}
	if x.sequence != 0 || fenced.err != nil {
		t.Errorf("closed lines heard of %d, %v", x.sequence, fenced.err)
	}
}

func TestNonsenseIsMendedNotRefused(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	odd := container("odd")
	odd.Command, odd.State, odd.DeploymentID = "a\x00b", "paused", "none"
	odd.CreatedAt = odd.CreatedAt.AddDate(500_000, 0, 0)
	odd.Ports = []workload.Port{{Internal: 80, Protocol: "t\x00cp"}}
	twin := odd
	twin.Command = "twin"
	x.tell(report.Report{Sequence: 1, Containers: list(odd, twin, workload.Container{State: spec.StateRunning})})
	x.await(1)
	got := w.stored(s)
	if len(got) != 1 || got[0].Command != "a\uFFFDb" || got[0].State != spec.StateWaiting || got[0].DeploymentID != "" {
		t.Errorf("stored are %+v", got)
	}
}

// A container that becomes unhealthy, and healthy again, is in the node's
// history once for each turn, whatever it was in between and whoever reports.
func TestTheHistoryTellsWhatTurnedUnhealthy(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	ours, foreign := container("web"), container("foreign")
	foreign.Managed = false
	for n, health := range []string{"starting", "healthy", "unhealthy", "unhealthy", "starting", "unhealthy", "starting", "healthy", "healthy", "unhealthy"} {
		ours.Health, foreign.Health = health, health
		ours.RestartCount = n // it differs in any case
		if n == 6 {
			x = w.open(w.again(s)) // what was compared before is not known any more
		}
		x.tell(report.Report{Sequence: uint64(n + 1), Containers: &report.Containers{List: []workload.Container{ours, foreign}}})
		x.await(uint64(n + 1))
	}
	const query = "select string_agg(event || ' ' || (data ->> 'name') || ' ' || (data ->> 'health'), ', ' order by id) from node_events"
	if got := value[string](w, query); got != "containerHealth web unhealthy, containerHealth web healthy, containerHealth web unhealthy" {
		t.Errorf("the history says %s", got)
	}
}

func TestAnEngineThatIsAwayIsNotAnEmptyNode(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	x := w.open(s)
	web := container("web")
	for n, problem := range []string{"", "no answer", "no answer", "no answer at all", ""} {
		x.tell(report.Report{Sequence: uint64(n + 1), Containers: &report.Containers{List: []workload.Container{web}, EngineError: problem}})
		x.await(uint64(n + 1))
		if got := value[string](w, "select engine_error from agents"); got != problem {
			t.Errorf("the engine's error is %q, want %q", got, problem)
		}
		if since := value[bool](w, "select engine_error_at is not null from agents"); since != (problem != "") {
			t.Errorf("with %q the error has a time: %v", problem, since)
		}
		if len(w.stored(s)) != 1 {
			t.Error("the container is forgotten")
		}
	}
	if got := value[string](w, "select string_agg(event, ',' order by id) from node_events"); got != "engineDown,engineUp" {
		t.Errorf("the history says %s", got)
	}
}

func TestWhatAReportTellsOfDeploymentsCountsOnce(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	d := w.deployed(s)
	told := func(sequence uint64) report.Report {
		return report.Report{Sequence: sequence, Events: []deploymentEvent{{
			DeploymentID: d, Event: workload.Event{Time: now(), Level: workload.LevelInfo, Lines: []string{fmt.Sprint(sequence)}},
		}}}
	}
	x := w.open(s)
	x.tell(told(1))
	x.tell(told(2))
	x.await(2)
	x.tell(told(2)) // sent again on the same session
	x.await(2)
	// A session that ended before it heard of the answers: everything again.
	s = w.again(s)
	s.StatusSequence = 0 // as if it had been opened before they were written
	x = w.open(s)
	for n := uint64(1); n <= 3; n++ {
		x.tell(told(n))
		x.await(n)
	}
	if got := value[string](w, "select string_agg(lines->>0, ',' order by id) from deployment_events"); got != "1,2,3" {
		t.Errorf("the log says %s", got)
	}
}
