package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/apperr"
)

// killed returns the journal's file as it is on the disk now, for another
// agent to start with: the first one gets no chance to end anything.
func killed(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestAKilledAgentDoesNotRepeatWhatItHadBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commands")
		first := &fake{block: true}
		e := open(t, first, path)
		end := run(t, e)
		defer end()
		c := act("c1", restart)
		e.Submit(c)
		synctest.Wait()
		if len(first.seen()) != 1 {
			t.Fatal("the command has not begun")
		}

		second := &fake{}
		again := open(t, second, killed(t, path))
		defer run(t, again)()
		again.Opened(true)
		again.Submit(c) // delivered again
		synctest.Wait()
		r := again.Take()
		if len(second.seen()) != 0 {
			t.Fatalf("the effect was repeated: %q", second.seen())
		}
		if len(r) != 1 || r[0].GetId() != "c1" || r[0].GetErrorKind() != "unavailable" || !strings.Contains(r[0].GetError(), "not known") {
			t.Fatalf("results %v", r)
		}
	})
}

func TestAKilledAgentTellsTheResultsItHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commands")
		first := &fake{err: apperr.New(apperr.NotFound, "no such container")}
		e := open(t, first, path)
		defer run(t, e)()
		e.Opened(true)
		expired := actOn("expired", stop, "old")
		expired.Deadline = timestamppb.New(time.Now())
		e.Submit(act("kept", stop))
		e.Submit(actOn("acked", stop, "db"))
		e.Submit(expired)
		synctest.Wait()
		e.Take()
		e.Acked("acked")
		synctest.Wait()

		second := &fake{}
		again := open(t, second, killed(t, path))
		defer run(t, again)()
		again.Opened(true)
		told := map[string]string{}
		for _, r := range again.Take() {
			told[r.GetId()] = r.GetErrorKind()
		}
		if len(told) != 2 || told["kept"] != "not-found" || told["expired"] != "precondition" {
			t.Fatalf("told after the restart: %v", told)
		}
		for _, c := range []*agentv1.Command{act("kept", stop), actOn("acked", stop, "db"), expired} {
			again.Submit(c)
		}
		synctest.Wait()
		if len(second.seen()) != 0 {
			t.Fatalf("effects were repeated: %q", second.seen())
		}
		if got := again.Take(); len(got) != 3 {
			t.Fatalf("answers to commands delivered again: %v", got)
		}
	})
}

func TestAnActCutShortByTheAgentsEndHasAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commands")
		e := open(t, &fake{block: true}, path)
		end := run(t, e)
		e.Submit(act("c1", stop))
		e.Submit(actOn("waits", stop, "web")) // behind it
		synctest.Wait()
		end()

		second := &fake{}
		again := open(t, second, path)
		defer run(t, again)()
		again.Opened(true)
		if r := again.Take(); len(r) != 1 || !strings.Contains(r[0].GetError(), "not known") {
			t.Fatalf("results %v", r)
		}
		again.Submit(actOn("waits", stop, "web")) // it had not begun
		synctest.Wait()
		if got := second.seen(); len(got) != 1 {
			t.Fatalf("acts %q", got)
		}
	})
}

func TestTheJournalForgetsWhatIsLongOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commands")
		driver := &fake{}
		e := open(t, driver, path)
		defer run(t, e)()
		e.Opened(true)
		submit := func(i int) string {
			c := act(fmt.Sprint(i), stop)
			c.Deadline = timestamppb.New(time.Now().Add(time.Minute))
			e.Submit(c)
			synctest.Wait()
			r := e.Take()
			if len(r) != 1 {
				t.Fatalf("command %d: results %v", i, r)
			}
			e.Acked(r[0].GetId())
			synctest.Wait()
			return r[0].GetErrorKind()
		}
		const most = 1024
		for i := range most {
			if kind := submit(i); kind != "" {
				t.Fatalf("command %d: %s", i, kind)
			}
		}
		if kind := submit(most); kind != "too-many" {
			t.Fatalf("one more than can be remembered: %q", kind)
		}
		if n := len(driver.seen()); n != most {
			t.Fatalf("%d acts", n)
		}
		time.Sleep(2 * time.Hour) // of the bubble: no real time passes
		if kind := submit(most + 1); kind != "" {
			t.Fatalf("after two hours: %q", kind)
		}
	})
}

func TestAnotherAgentsJournalIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commands")
		e := open(t, &fake{}, path)
		end := run(t, e)
		e.Submit(act("c1", stop))
		synctest.Wait()
		end()

		again, err := command.New(command.Config{
			Driver: &fake{}, Path: path, Agent: "another", Generation: func() uint64 { return 0 }, Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer run(t, again)()
		again.Opened(true)
		if got := again.Take(); len(got) != 0 {
			t.Fatalf("another controller would be told %v", got)
		}
	})
}
