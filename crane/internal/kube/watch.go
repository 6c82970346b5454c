package kube

import (
	"context"
)

// Watch calls changed after anything about pods may have changed, until ctx
// ends. While it runs List is answered from what it sees. It does not end when
// the API server is away.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	s, err := d.follow(ctx, d.served()...)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	d.seen.Store(s)
	defer d.seen.Store(nil)
	changed()
	for {
		select {
		case <-s.changed:
			changed()
		case <-ctx.Done():
			return nil
		}
	}
}
