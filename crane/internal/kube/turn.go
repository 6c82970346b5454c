package kube

import (
	"context"
	"sync/atomic"
)

// place is where those stand who change a namespace: one at a time.
type place struct {
	taken chan struct{}
	// release is true while a release is applied or removed, which may take long.
	release atomic.Bool
}

func (d *Driver) placeOf(namespace string) *place {
	p, _ := d.places.LoadOrStore(namespace, &place{taken: make(chan struct{}, 1)})
	return p.(*place) //nolint:forcetypeassert // nothing else is stored
}

// turn waits until nobody else changes a namespace, and returns what lets the
// next one in. It fails when ctx ends first.
func (d *Driver) turn(ctx context.Context, namespace string) (end func(), err error) {
	p := d.placeOf(namespace)
	select {
	case p.taken <- struct{}{}:
		return func() { <-p.taken }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// turnOfRelease is turn for who applies or removes a release.
func (d *Driver) turnOfRelease(ctx context.Context, namespace string) (end func(), err error) {
	leave, err := d.turn(ctx, namespace)
	if err != nil {
		return nil, err
	}
	p := d.placeOf(namespace)
	p.release.Store(true)
	return func() {
		p.release.Store(false)
		leave()
	}, nil
}

// tryTurn is turn without waiting; false while somebody else has it.
func (d *Driver) tryTurn(namespace string) (end func(), ok bool) {
	p := d.placeOf(namespace)
	select {
	case p.taken <- struct{}{}:
		return func() { <-p.taken }, true
	default:
		return nil, false
	}
}
