package bulk

import (
	"context"
	"errors"
	"io"
)

// Bearer is the carrying end of a stream, here or at another replica.
type Bearer interface {
	// Deliver hands a part to the reader and waits while there is no room.
	Deliver(ctx context.Context, up Up) error
	// Next waits for what the reader sends.
	Next(ctx context.Context) (Down, error)
	// Done is closed when nobody reads any more.
	Done() <-chan struct{}
	// Left says that who carried is gone.
	Left()
}

// Bear moves parts between a connection and a bearer until the connection
// ends, the reader has enough, or the last part was delivered: then it is nil.
// The two functions are called by one goroutine each; recv must return when
// the connection ends, and may still wait when Bear has returned.
func Bear(ctx context.Context, b Bearer, recv func() (Up, error), send func(Down) error) error {
	defer b.Left()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with ctx
		for {
			d, err := b.Next(ctx)
			if err != nil {
				return
			}
			if err := send(d); err != nil {
				cancel(err)
				return
			}
		}
	}()
	carried := make(chan error, 1)
	go func() { carried <- bearUp(ctx, b, recv) }() // ends with the connection
	select {
	case err := <-carried:
		return err
	case <-b.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func bearUp(ctx context.Context, b Bearer, recv func() (Up, error)) error {
	for {
		up, err := recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.Deliver(ctx, up); err != nil {
			return err
		}
		if up.End != nil {
			return nil
		}
	}
}
