package teamapi

import (
	"context"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

type againKey struct{}

// withAgain keeps how to find out once more who is asking, for answers that
// last: rights may be taken away meanwhile.
func withAgain(ctx context.Context, enter func(ctx context.Context) (context.Context, error)) context.Context {
	return context.WithValue(ctx, againKey{}, enter)
}

// recheck returns a function that fails when the caller in ctx may not take the
// action any more. While that can't be found out the caller still may.
func recheck(ctx context.Context, action authz.Action) func(context.Context) error {
	enter, _ := ctx.Value(againKey{}).(func(context.Context) (context.Context, error))
	return func(ctx context.Context) error {
		if enter == nil {
			return nil
		}
		ctx, err := enter(ctx)
		if err == nil {
			_, _, err = authz.Require(ctx, action)
		}
		if apperr.Is(err, apperr.Unauthenticated) || apperr.Is(err, apperr.Forbidden) || apperr.Is(err, apperr.NotFound) {
			return err
		}
		return nil
	}
}
