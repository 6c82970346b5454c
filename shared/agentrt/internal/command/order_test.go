package command_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/workload"
)

func TestCommandsOfOneContainerKeepTheirOrderAndOthersDoNotWait(t *testing.T) {
	driver := &fake{block: true}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		e.Submit(actOn("c1", stop, "web"))
		e.Submit(actOn("c2", restart, "web"))
		e.Submit(actOn("c3", stop, "db"))
		synctest.Wait()
		got := driver.seen()
		slices.Sort(got)
		if want := []string{"stop shop/db", "stop shop/web"}; !slices.Equal(got, want) {
			t.Fatalf("under way: %q, want %q", got, want)
		}
		time.Sleep(time.Hour) // of the bubble: no real time passes
		synctest.Wait()
		if got := driver.seen(); len(got) != 3 || got[2] != "restart shop/web" {
			t.Fatalf("acts %q", got)
		}
	})
}

func TestWhatMustHoldIsCheckedWhenACommandBegins(t *testing.T) {
	web := workload.Container{ID: workload.ContainerID{Prefix: "shop", Name: "web"}, EngineID: "e1"}
	for name, test := range map[string]struct {
		want  *agentv1.Precondition
		fails string
	}{
		"nothing":               {nil, ""},
		"the container":         {&agentv1.Precondition{EngineId: "e1"}, ""},
		"the generation":        {&agentv1.Precondition{Generation: 7, EngineId: "e1"}, ""},
		"another container":     {&agentv1.Precondition{EngineId: "e0"}, "was replaced"},
		"an earlier generation": {&agentv1.Precondition{Generation: 6}, "generation 7"},
	} {
		t.Run(name, func(t *testing.T) {
			driver := &fake{containers: []workload.Container{web}}
			inBubble(t, driver, func(t *testing.T, e *command.Executor) {
				c := act("c1", stop)
				c.Precondition = test.want
				e.Submit(c)
				synctest.Wait()
				r := e.Take()[0]
				if done := len(driver.seen()) == 1; done != (test.fails == "") {
					t.Fatalf("acts %q, result %v", driver.seen(), r)
				}
				if test.fails != "" && (r.GetErrorKind() != "precondition" || !strings.Contains(r.GetError(), test.fails)) {
					t.Fatalf("result %v, want %q", r, test.fails)
				}
			})
		})
	}
	t.Run("a container that is gone", func(t *testing.T) {
		inBubble(t, &fake{}, func(t *testing.T, e *command.Executor) {
			c := act("c1", stop)
			c.Precondition = &agentv1.Precondition{EngineId: "e1"}
			e.Submit(c)
			synctest.Wait()
			if r := e.Take()[0]; r.GetErrorKind() != "precondition" {
				t.Fatalf("result %v", r)
			}
		})
	})
}

func TestInspectAnswersWithTheEnginesWords(t *testing.T) {
	inspect := func(id string) *agentv1.Command {
		return &agentv1.Command{Id: id, Act: &agentv1.Command_Inspect{Inspect: &agentv1.Inspect{Prefix: "shop", Name: "web"}}}
	}
	driver := &fake{inspection: []byte(`{"id":"e1"}`)}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		e.Submit(inspect("c1"))
		synctest.Wait()
		if r := e.Take()[0]; string(r.GetInspection()) != `{"id":"e1"}` || r.GetError() != "" {
			t.Fatalf("result %v", r)
		}
		driver.inspection = bytes.Repeat([]byte("x"), command.MaxInspection+1)
		e.Submit(inspect("c2"))
		synctest.Wait()
		if r := e.Take()[0]; r.GetErrorKind() != "unsupported" || r.GetInspection() != nil {
			t.Fatalf("result %v", r.GetError())
		}
	})
}

// An update is taken on once, as it was ordered, however often the order comes.
func TestAnUpdateIsTakenOnOnce(t *testing.T) {
	order := &agentv1.Command{Id: "c1", Act: &agentv1.Command_Update{Update: &agentv1.Update{Version: "9"}}}
	synctest.Test(t, func(t *testing.T) {
		var taken []string
		e := openWith(t, &fake{}, filepath.Join(t.TempDir(), "commands"), func(c *command.Config) {
			c.Update = func(_ context.Context, id string, order *agentv1.Update) error {
				taken = append(taken, id+" "+order.GetVersion())
				return nil
			}
		})
		e.Opened(true)
		end := run(t, e)
		defer end()
		for range 3 {
			e.Submit(order)
			synctest.Wait()
			if r := e.Take(); len(r) != 1 || r[0].GetId() != "c1" || r[0].GetError() != "" {
				t.Fatalf("results %v", r)
			}
		}
		if !slices.Equal(taken, []string{"c1 9"}) {
			t.Fatalf("taken on: %q", taken)
		}
	})
	t.Run("by an agent that cannot be replaced", func(t *testing.T) {
		inBubble(t, &fake{}, func(t *testing.T, e *command.Executor) {
			e.Submit(order)
			synctest.Wait()
			if r := e.Take()[0]; r.GetErrorKind() != "unsupported" || !strings.Contains(r.GetError(), "install script") {
				t.Fatalf("result %v", r)
			}
		})
	})
}

func TestResultsAreSentUntilTheyAreAcknowledged(t *testing.T) {
	inBubble(t, &fake{}, func(t *testing.T, e *command.Executor) {
		e.Submit(actOn("c1", stop, "web"))
		e.Submit(actOn("c2", stop, "db"))
		synctest.Wait()
		if got := len(e.Take()); got != 2 {
			t.Fatalf("%d results", got)
		}
		if got := e.Take(); len(got) != 0 {
			t.Fatalf("taken twice on one session: %v", got)
		}
		e.Acked("c1")
		e.Opened(true)
		if got := e.Take(); len(got) != 1 || got[0].GetId() != "c2" {
			t.Fatalf("on the next session: %v", got)
		}
		e.Opened(false) // a controller that does not acknowledge is told once more, and no more
		if got := e.Take(); len(got) != 1 {
			t.Fatalf("to an older controller: %v", got)
		}
		e.Opened(false)
		if got := e.Take(); len(got) != 0 {
			t.Fatalf("to an older controller again: %v", got)
		}
		e.Submit(actOn("c2", stop, "db")) // unless it asks
		if got := e.Take(); len(got) != 1 {
			t.Fatalf("when it asks: %v", got)
		}
	})
}

func TestReadAnswersThatWaitAreBoundedTogether(t *testing.T) {
	driver := &fake{lines: []workload.LogLine{{Text: strings.Repeat("x", 60<<10)}, {Text: strings.Repeat("y", 60<<10)}, {Text: strings.Repeat("z", 60<<10)}}}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		for i := range 60 {
			e.Submit(&agentv1.Command{
				Id: fmt.Sprint(i), Deadline: timestamppb.New(time.Now().Add(time.Minute)),
				Act: &agentv1.Command_ReadLogs{ReadLogs: &agentv1.ReadLogs{Prefix: "shop", Name: fmt.Sprint(i)}},
			})
		}
		synctest.Wait()
		size := 0
		results := e.Take()
		for _, r := range results {
			for _, l := range r.GetLines() {
				size += len(l.GetText())
			}
		}
		if size > 4<<20 || len(results) == 60 || len(results) < 10 {
			t.Fatalf("%d answers of %d bytes wait", len(results), size)
		}
	})
}
