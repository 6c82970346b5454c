package workload_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// heard are the events of a story whose hook writes what write says.
func heard(t *testing.T, write func(ctx context.Context, line func(workload.LogLine) error) error) (events []workload.Event, last []string) {
	t.Helper()
	story := workload.NewStory(workload.ReporterFunc(func(e workload.Event) { events = append(events, e) }), time.Now)
	name := "web"
	w := spec.Workload{InstanceID: "i", Container: spec.Container{Name: &name}}
	last = story.FollowHook(t.Context(), w, spec.HookPreDeploy, write).End()
	return events, last
}

func say(line func(workload.LogLine) error, text string) error {
	return line(workload.LogLine{Text: text})
}

func TestWhatAHookWritesIsToldInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, last := heard(t, func(_ context.Context, line func(workload.LogLine) error) error {
			err := errors.Join(say(line, "one"), say(line, "two"))
			<-time.After(time.Second) // of the bubble: no real time passes
			return errors.Join(err, say(line, "three"))
		})
		if len(events) != 2 || strings.Join(events[0].Lines, "|") != "pre-deploy: one|pre-deploy: two" || events[1].Lines[0] != "pre-deploy: three" || events[0].InstanceID != "i" {
			t.Errorf("told %+v", events)
		}
		if strings.Join(last, "|") != "one|two|three" {
			t.Errorf("the last lines are %q", last)
		}
	})
}

func TestAHookThatWritesMuchIsToldSoMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lines = workload.MaxHookLogLines + 500
		events, last := heard(t, func(_ context.Context, line func(workload.LogLine) error) (err error) {
			for n := range lines {
				err = errors.Join(err, say(line, fmt.Sprint(n)))
			}
			return err
		})
		told := 0
		for _, e := range events {
			told += len(e.Lines)
		}
		end := events[len(events)-1].Lines
		if told != workload.MaxHookLogLines || !strings.Contains(end[len(end)-1], "more is written") {
			t.Errorf("told %d lines, the last is %q", told, end[len(end)-1])
		}
		if len(last) != workload.FailureLogLines || last[len(last)-1] != fmt.Sprint(lines-1) {
			t.Errorf("%d last lines, the last is %q", len(last), last[len(last)-1])
		}
	})
}

func TestALogThatDoesNotEndIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, last := heard(t, func(ctx context.Context, line func(workload.LogLine) error) error {
			err := say(line, "one")
			<-ctx.Done()
			return errors.Join(err, ctx.Err())
		})
		if len(events) != 1 || len(last) != 1 {
			t.Errorf("told %+v, last lines %q", events, last)
		}
	})
}

func TestALogThatCannotBeReadIsWarnedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, _ := heard(t, func(context.Context, func(workload.LogLine) error) error { return errors.New("no such log") })
		if len(events) != 1 || events[0].Level != workload.LevelWarn || !strings.Contains(events[0].Lines[0], "the pre-deploy hook of web") || !strings.Contains(events[0].Lines[0], "no such log") {
			t.Errorf("told %+v", events)
		}
	})
}

func TestAHookThatNeverWroteHasNoLastLines(t *testing.T) {
	var none *workload.HookLog
	if last := none.End(); last != nil {
		t.Errorf("the last lines are %q", last)
	}
}
