package command

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/workload"
)

// counting counts stops.
type counting struct {
	Driver
	stops int
	// before is called before each; may be nil.
	before func()
}

func (c *counting) Stop(context.Context, workload.ContainerID) error {
	if c.before != nil {
		c.before()
	}
	c.stops++
	return nil
}

func mustJournal(t *testing.T, path string) *journal {
	t.Helper()
	j, err := openJournal(path, "agent", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	return j
}

// A journal cut off at any byte still knows every command whose beginning is
// in it, and goes on.
func TestAJournalCutAtAnyByteIsUsable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commands")
	j := mustJournal(t, path)
	until := time.Now().Add(time.Hour).UTC()
	begun := map[string]int64{} // the size of the file when it was said to be in it
	for _, id := range []string{"one", "two"} {
		if err := j.begin(id, until); err != nil {
			t.Fatal(err)
		}
		begun[id] = j.size
		if err := j.end(&agentv1.CommandResult{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(content) + 1 {
		next := filepath.Join(t.TempDir(), "commands")
		if err := os.WriteFile(next, content[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := mustJournal(t, next)
		for id, size := range begun {
			if _, known := again.known(id); known != (int64(cut) >= size) {
				t.Fatalf("cut at %d of %d: %s is known: %t, it was written at %d", cut, len(content), id, known, size)
			}
		}
		if err := again.begin("three", until); err != nil {
			t.Fatal(err)
		}
		if _, known := mustJournal(t, next).known("three"); !known {
			t.Fatalf("cut at %d: what came after is lost", cut)
		}
	}
}

func TestNothingBeginsThatCannotBeNoted(t *testing.T) {
	driver := &counting{}
	e, err := New(Config{
		Driver: driver, Path: filepath.Join(t.TempDir(), "commands"), Agent: "agent",
		Generation: func() uint64 { return 0 }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	good := e.journal.file
	broken, err := os.Open(e.journal.path) // as when the disk takes no more
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broken.Close() }()
	stop := func(id string) *agentv1.CommandResult {
		c := &agentv1.Command{Id: id, Act: &agentv1.Command_Container{Container: &agentv1.ContainerAct{
			Operation: agentv1.ContainerOperation_CONTAINER_OPERATION_STOP, Prefix: "shop", Name: "web",
		}}}
		e.Submit(c)
		e.first(t.Context(), containerOf(c))
		return e.Take()[0]
	}
	e.journal.file = broken
	if r := stop("c1"); r.GetErrorKind() != "unavailable" || driver.stops != 0 {
		t.Fatalf("result %v after %d stops", r, driver.stops)
	}
	e.journal.file = good
	if r := stop("c1"); r.GetError() != "" || driver.stops != 1 {
		t.Fatalf("when the disk is well again: result %v after %d stops", r, driver.stops)
	}
}

// Only what was synced outlives the machine.
func TestACommandIsOnTheDiskBeforeItsEffectBegins(t *testing.T) {
	driver := &counting{}
	e, err := New(Config{
		Driver: driver, Path: filepath.Join(t.TempDir(), "commands"), Agent: "agent",
		Generation: func() uint64 { return 0 }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	var synced int64
	e.journal.sync = func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		synced = info.Size()
		return f.Sync()
	}
	driver.before = func() {
		if _, known := e.journal.known("c1"); !known || synced != e.journal.size || synced == 0 {
			t.Errorf("the effect begins with %d of %d bytes on the disk", synced, e.journal.size)
		}
	}
	c := &agentv1.Command{Id: "c1", Act: &agentv1.Command_Container{Container: &agentv1.ContainerAct{
		Operation: agentv1.ContainerOperation_CONTAINER_OPERATION_STOP, Prefix: "shop", Name: "web",
	}}}
	e.Submit(c)
	e.first(t.Context(), containerOf(c))
	if driver.stops != 1 || synced != e.journal.size {
		t.Errorf("%d stops; the result is on the disk: %t", driver.stops, synced == e.journal.size)
	}
}

func FuzzJournal(f *testing.F) {
	var b []byte
	for _, l := range []line{
		{What: "agent", ID: "agent"}, {What: "begin", ID: "c1", Until: time.Unix(1e9, 0)},
		{What: "end", ID: "c1", Error: "failed", Kind: "internal"}, {What: "ack", ID: "c1"},
	} {
		b, _ = l.append(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		_, entries, good := read(content)
		if good > len(content) || len(entries)*9 > len(content) {
			t.Fatalf("%d entries in %d of %d bytes", len(entries), good, len(content))
		}
		path := filepath.Join(t.TempDir(), "commands")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path, "agent", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.begin("new", time.Now()); err != nil && len(j.order) < maxKnown {
			t.Fatal(err)
		}
		_ = j.close()
	})
}

// An agent that starts on a full disk must still know what it has begun, and
// goes on once there is room.
func TestAJournalIsOpenedOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commands")
	j := mustJournal(t, path)
	if err := j.begin("before", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	full := func(*os.File) error { return syscall.ENOSPC }
	j, err := openJournalWith(path, j.agent, time.Now, full)
	if err != nil {
		t.Fatal(err)
	}
	if _, known := j.known("before"); !known {
		t.Error("it does not know what was begun")
	}
	if err := j.begin("meanwhile", time.Now().Add(time.Hour)); err == nil {
		t.Error("a command begins that cannot be noted")
	}
	j.sync = (*os.File).Sync
	if err := j.begin("after", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j = mustJournal(t, path)
	for id, want := range map[string]bool{"before": true, "meanwhile": false, "after": true} {
		if _, known := j.known(id); known != want {
			t.Errorf("%s is known: %t", id, known)
		}
	}
	if _, err := openJournalWith(filepath.Join(t.TempDir(), "none"), "agent", time.Now, full); err == nil {
		t.Error("a journal was begun that cannot be written")
	}
}
