package taskgroup_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"fairlead.dev/shared/taskgroup"
)

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestRunEndsQuietlyWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := taskgroup.Run(ctx, taskgroup.Task{Name: "a", Run: untilDone}, taskgroup.Task{Name: "b", Run: untilDone})
	if err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestOneFailureStopsTheRest(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"an error":      {func(context.Context) error { return boom }, "bad: boom"},
		"a panic":       {func(context.Context) error { panic("ouch") }, "bad: panic: ouch"},
		"an early exit": {func(context.Context) error { return nil }, "bad: ended without being asked to"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := taskgroup.Run(t.Context(),
				taskgroup.Task{Name: "good", Run: untilDone},
				taskgroup.Task{Name: "bad", Run: c.run})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("Run = %v, want prefix %q", err, c.want)
			}
		})
	}
}
