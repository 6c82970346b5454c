package client

import (
	"context"
	"fmt"
	"time"
)

// awaitPeriod is how often Await asks.
const awaitPeriod = 50 * time.Millisecond

// Await asks until done says so. It fails with done's error, or after patience
// with what done saw last.
func Await(ctx context.Context, patience time.Duration, what string, done func() (ok bool, seen string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(awaitPeriod)
	defer tick.Stop()
	for {
		ok, seen, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: after %s it is still %s", what, patience, seen)
		}
	}
}
