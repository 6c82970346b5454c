package teamapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// migrations is what the database says of itself.
type migrations func(context.Context) (string, error)

func (m migrations) LastMigration(ctx context.Context) (string, error) { return m(ctx) }

func TestHealthTellsOfADatabaseThatIsAwayOrHangs(t *testing.T) {
	for name, test := range map[string]struct {
		database migrations
		want     string
	}{
		"there":    {func(context.Context) (string, error) { return "00001_first.sql", nil }, "operational"},
		"away":     {func(context.Context) (string, error) { return "", errors.New("connection refused") }, "disrupted"},
		"it hangs": {func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }, "disrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &api{deps: Deps{Health: test.database}}
				answer, err := a.health(t.Context(), nil)
				if err != nil || answer.Body.Status != test.want {
					t.Errorf("%+v (%v), want %s", answer, err, test.want)
				}
			})
		})
	}
}
