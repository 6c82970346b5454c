package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/controller/internal/replica"
)

// TestADatabaseThatAnswersOthersIsNotAsked runs on a clock of its own: the
// question is for when nobody else would notice that the database is gone, and
// then it is noticed in time.
func TestADatabaseThatAnswersOthersIsNotAsked(t *testing.T) {
	const noticed = 3 * time.Second
	for name, gone := range map[string]func(ctx context.Context) error{
		"it refuses":       func(context.Context) error { return errors.New("refused") },
		"it never answers": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				var away atomic.Bool
				v := replica.NewVigil(replica.VigilConfig{
					Ask: func(ctx context.Context) error {
						asked.Add(1)
						if away.Load() {
							return gone(ctx)
						}
						return nil
					},
					List:     func(context.Context) ([]replica.Peer, error) { return nil, nil },
					Sessions: func() int { return 0 },
					Log:      slog.New(slog.DiscardHandler),
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { _ = v.Run(ctx) }()
				for range 60 { // others ask it each second
					<-time.After(time.Second)
					v.Answered(nil)
				}
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times, want once, at the start", n)
				}
				<-time.After(10 * time.Second)
				if n := asked.Load(); n < 5 {
					t.Errorf("asked %d times though it answered nobody", n)
				}

				away.Store(true)
				v.Answered(nil) // the last answer
				<-time.After(noticed)
				synctest.Wait()
				if v.Present() == nil {
					t.Fatalf("it is not noticed within %s", noticed)
				}
				v.Answered(nil) // late, from before
				if v.Present() == nil {
					t.Error("it counts as back though it does not answer its own question")
				}
				away.Store(false)
				<-time.After(noticed)
				synctest.Wait()
				if err := v.Present(); err != nil {
					t.Errorf("it is back and counts as away: %v", err)
				}

				// Who was not answered has it asked at once.
				<-time.After(time.Millisecond)
				v.Answered(nil)
				away.Store(true)
				before := asked.Load()
				v.Answered(errors.New("refused"))
				<-time.After(200 * time.Millisecond)
				synctest.Wait()
				if asked.Load() == before {
					t.Error("it is not asked after somebody got no answer")
				}
			})
		})
	}
}
