// Package taskgroup runs long-lived tasks as one: the first to fail, or to
// return at all, stops the others, and nobody leaves before all have ended.
package taskgroup

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Task is a named piece of work that runs until its context ends.
type Task struct {
	Name string
	// Run blocks until ctx ends or the work fails. Returning nil before ctx
	// ended stops the group as well: a task that may finish is no task.
	Run func(ctx context.Context) error
}

// Run runs the tasks until ctx ends or one of them returns, then cancels the
// rest and waits for all. It returns the errors of the tasks that failed,
// joined and named; nil when all ended because ctx did. A panic becomes an
// error that carries its stack.
func Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	for i, task := range tasks {
		wg.Go(func() {
			err := call(ctx, task)
			switch {
			case err == nil && ctx.Err() == nil:
				err = fmt.Errorf("%s: ended without being asked to", task.Name)
			case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
				err = nil
			case err != nil:
				err = fmt.Errorf("%s: %w", task.Name, err)
			}
			errs[i] = err
			cancel(err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func call(ctx context.Context, task Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return task.Run(ctx)
}
