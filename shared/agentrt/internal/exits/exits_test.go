package exits_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/exits"
	"fairlead.dev/shared/agentrt/internal/spool"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// node is a machine whose agent may be killed.
type node struct {
	t   *testing.T
	dir string
	log []workload.LogLine
	// hangs makes logs end with their context alone.
	hangs bool

	spool    *spool.Spool
	detector *exits.Detector
	told     uint64 // up to which facts were looked at
}

func newNode(t *testing.T) *node {
	n := &node{t: t, dir: t.TempDir()}
	n.boot()
	return n
}

// boot starts the agent's part anew from what is on the disk.
func (n *node) boot() {
	n.t.Helper()
	if n.spool != nil {
		_ = n.spool.Close()
	}
	var err error
	n.spool, err = spool.Open(spool.Config{Dir: filepath.Join(n.dir, "spool"), Agent: "agent", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = n.spool.Close() })
	n.detector, err = exits.Open(exits.Config{
		Path: filepath.Join(n.dir, "seen", "seen.json"), Agent: "agent", Spool: n.spool,
		Logs: func(ctx context.Context, _ workload.ContainerID, _ workload.LogOptions, line func(workload.LogLine) error) error {
			if n.hangs {
				<-ctx.Done()
			}
			for _, l := range n.log {
				if err := line(l); err != nil {
					return err
				}
			}
			return apperr.New(apperr.NotFound, "the rest of the log is gone")
		},
		Noticed: func() {}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// disk makes the folder of what was seen writable or not.
func (n *node) disk(works bool) {
	n.t.Helper()
	var err error
	if folder := filepath.Join(n.dir, "seen"); works {
		err = os.Mkdir(folder, 0o700)
	} else {
		err = os.Rename(folder, folder+".away")
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// facts returns what was noticed since the last call.
func (n *node) facts(list ...workload.Container) (found []*agentv1.Fact) {
	n.t.Helper()
	n.detector.Look(n.t.Context(), list)
	found, err := n.spool.Next(n.told, 100, 1<<20)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range found {
		n.told = f.GetSequence()
	}
	return found
}

// none demands that nothing is noticed.
func (n *node) none(when string, list ...workload.Container) {
	n.t.Helper()
	if found := n.facts(list...); len(found) != 0 {
		n.t.Errorf("%s: %v", when, found)
	}
}

// one demands that one end is noticed.
func (n *node) one(when string, list ...workload.Container) *agentv1.Fact {
	n.t.Helper()
	found := n.facts(list...)
	if len(found) != 1 || found[0].GetExit() == nil {
		n.t.Fatalf("%s: %v, want one exit", when, found)
	}
	return found[0]
}

func at(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 5, time.UTC) }

func running(started int) workload.Container {
	return workload.Container{
		ID: workload.ContainerID{Prefix: "shop", Name: "web"}, EngineID: "e1", Managed: true,
		DeploymentID: "d1", InstanceID: "i1", Release: 3, State: spec.StateRunning, StartedAt: at(started),
	}
}

func exited(started, finished, code int) workload.Container {
	c := running(started)
	c.State, c.FinishedAt, c.ExitCode = spec.StateExited, at(finished), code
	return c
}

// restarted is a container that the engine started again.
func restarted(started, finished, count int) workload.Container {
	c := running(started)
	c.FinishedAt, c.RestartCount = at(finished), count
	return c
}

func ready(t *testing.T, first ...workload.Container) *node {
	n := newNode(t)
	n.disk(true)
	n.none("the first look", first...)
	return n
}

func TestAnEndIsToldOnce(t *testing.T) {
	n := ready(t)
	n.none("a container that runs", running(1))
	over := exited(1, 2, 137)
	over.OOMKilled, over.EndReason = true, "Evicted: no room"
	f := n.one("its end", over)
	if e := f.GetExit(); e.GetExitCode() != 137 || !e.GetOomKilled() || e.GetReason() != "Evicted: no room" || e.GetUnseen() || !f.GetTime().AsTime().Equal(at(2)) {
		t.Errorf("fact %v", f)
	}
	if f.GetPrefix() != "shop" || f.GetName() != "web" || f.GetEngineId() != "e1" || f.GetDeploymentId() != "d1" || f.GetInstanceId() != "i1" || f.GetRelease() != 3 {
		t.Errorf("fact %v", f)
	}
	n.none("the same again", over)
	n.boot()
	n.none("after a restart", over)
	n.none("it was started again", restarted(3, 2, 0))
	n.boot()
	n.none("after another restart", restarted(3, 2, 0))
	n.one("it ended again", exited(3, 4, 0))
}

func TestAContainerThatWasRestartedBetweenLooksIsNoticed(t *testing.T) {
	n := ready(t, running(1))
	f := n.one("a restart", restarted(3, 2, 1))
	if e := f.GetExit(); !e.GetUnseen() || e.GetRestartCount() != 1 {
		t.Errorf("fact %v", f)
	}
	n.none("the same again", restarted(3, 2, 1))
	n.one("another", restarted(9, 8, 4))
	c := running(12) // of an engine that tells neither when it ended nor how often
	n.one("a third", c)
	c.StartedAt = at(13)
	n.one("a fourth", c)
	c.RestartCount = 1 // of one that tells nothing else
	n.one("a fifth", c)
}

// What a workload of several pods says of ends is that of the pod which ended
// last.
func TestFewerPodsAreNoEnd(t *testing.T) {
	n := ready(t, running(1))
	n.one("one pod was started again", restarted(1, 3, 1))
	n.one("another was", restarted(1, 5, 1))
	n.none("that one is gone", restarted(1, 3, 1))
	n.none("both are", running(1))
	n.one("the next end", restarted(1, 7, 1))
}

func TestAnEndByAClockThatWasSetBackIsNoticed(t *testing.T) {
	n := ready(t, restarted(9, 8, 1))
	n.one("its end", exited(9, 2, 0))
}

func TestEndsWhileTheAgentWasAwayAreNoticed(t *testing.T) {
	n := ready(t, running(1))
	n.boot()
	n.one("its end", exited(1, 2, 3))

	other := exited(1, 2, 4)
	other.EngineID = "e2"
	n.boot()
	n.one("one that came and went", exited(1, 2, 3), other)
}

func TestWhatEndedBeforeAnybodyLookedIsNoNews(t *testing.T) {
	n := ready(t, exited(1, 2, 3))
	n.boot()
	n.none("after a restart", exited(1, 2, 3))
}

func TestForeignContainersAndThoseThatNeverRanAreLeftAlone(t *testing.T) {
	n := ready(t)
	foreign := exited(1, 2, 3)
	foreign.Managed = false
	made := running(1)
	made.State, made.StartedAt, made.EngineID = spec.StateWaiting, time.Time{}, "e2"
	n.none("neither", foreign, made)
}

func TestAnAgentKilledAfterAFactWasWrittenDoesNotTellItTwice(t *testing.T) {
	n := ready(t, running(1))
	n.disk(false) // it is killed before it could note what it saw
	n.none("before it is noted", exited(1, 2, 3))
	n.disk(true)
	if err := os.Rename(filepath.Join(n.dir, "seen.away", "seen.json"), filepath.Join(n.dir, "seen", "seen.json")); err != nil {
		t.Fatal(err)
	}
	n.boot()
	n.one("the fact from the spool", exited(1, 2, 3))
	n.none("after that", exited(1, 2, 3))
}

func TestFactsWaitUntilWhatWasSeenCanBeNoted(t *testing.T) {
	n := ready(t, running(1))
	n.disk(false)
	n.none("while the disk is full", exited(1, 2, 3))
	n.none("still", exited(1, 2, 3))
	n.disk(true)
	n.one("when there is room", exited(1, 2, 3))
}

// What the spool does not take, since the disk is full, is noticed again, over a
// restart too.
func TestAnEndThatTheSpoolDoesNotTakeIsToldWhenItDoes(t *testing.T) {
	n := ready(t, running(1))
	if err := n.spool.Close(); err != nil { // it takes nothing
		t.Fatal(err)
	}
	n.none("while the disk is full", exited(1, 2, 3))
	n.none("still", exited(1, 2, 3))
	n.boot()
	if exit := n.one("when there is room", exited(1, 2, 3)); exit.GetSequence() != 1 {
		t.Errorf("it has the number %d", exit.GetSequence())
	}
	n.none("after that", exited(1, 2, 3))
}

func TestAnEndThatWasNotToldBeforeItsContainerWasGoneIsCountedAsLost(t *testing.T) {
	n := ready(t, running(1))
	if err := n.spool.Close(); err != nil { // it takes nothing
		t.Fatal(err)
	}
	n.none("while the disk is full", exited(1, 2, 3))
	if found := n.facts(); len(found) != 1 || found[0].GetLost().GetCount() != 1 {
		t.Errorf("told were %v, want one end as lost", found)
	}
	n.none("after that")
}

func TestTheLastWordsAreBounded(t *testing.T) {
	n := ready(t, running(1))
	for i := range 60 {
		n.log = append(n.log, workload.LogLine{Time: at(1), Text: fmt.Sprint(i)})
	}
	n.log = append(n.log, workload.LogLine{Time: at(3), Text: "of the next process"}, workload.LogLine{Time: at(1), Text: "b\xffd"})
	tail := n.one("a restart", restarted(3, 2, 1)).GetExit().GetLogTail()
	if len(tail) != 50 || tail[49] != "b\uFFFDd" || tail[48] != "59" {
		t.Errorf("tail %q", tail)
	}
	n.log = []workload.LogLine{{Text: "first"}, {Text: strings.Repeat("x", 1<<20)}, {Text: "last"}}
	tail = n.one("an end", exited(3, 4, 1)).GetExit().GetLogTail()
	if size := len(strings.Join(tail, "")); size > 16<<10 || tail[len(tail)-1] != "last" {
		t.Errorf("%d bytes, %d lines", size, len(tail))
	}
}

func TestAFileThatMakesNoSenseIsAsNone(t *testing.T) {
	n := ready(t, running(1))
	if err := os.WriteFile(filepath.Join(n.dir, "seen", "seen.json"), []byte(`{"agent":"agent","containers":[`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.boot()
	n.none("an end nobody can tell from an old one", exited(1, 2, 3))
	n.one("the next", exited(3, 4, 3))
}

func TestALogThatHangsDoesNotHoldTheFactBack(t *testing.T) {
	n := ready(t, running(1))
	n.hangs = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // in place of waiting for the time that a log may take
	n.detector.Look(ctx, []workload.Container{exited(1, 2, 3)})
	if !n.spool.Waiting(n.told) {
		t.Error("no fact")
	}
}
