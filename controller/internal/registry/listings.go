package registry

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// listingFresh is how long what a registry listed is answered again.
	listingFresh = 30 * time.Second
	// listingPatience bounds reading all pages of a listing.
	listingPatience = 30 * time.Second
	maxListings     = 256
)

// listings remembers briefly what registries listed, so that paging through a
// listing reads it once.
type listings struct {
	now    func() time.Time
	flight singleflight.Group

	mu   sync.Mutex
	kept map[string]kept
}

type kept struct {
	Listing
	until time.Time
}

func newListings(now func() time.Time) *listings {
	return &listings{now: now, kept: map[string]kept{}}
}

// key names a listing; whoever changes the registry asks anew.
func key(r Registry, path string) string {
	return r.ID.String() + " " + r.UpdatedAt.Format(time.RFC3339Nano) + " " + path
}

// get returns a listing, read anew when it is not fresh. Those who ask at the
// same moment share one reading, which goes on when one of them leaves.
func (l *listings) get(ctx context.Context, key string, read func(context.Context) (Listing, error)) (Listing, error) {
	if found, ok := l.find(key); ok {
		return found, nil
	}
	answer := l.flight.DoChan(key, func() (any, error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), listingPatience)
		defer cancel()
		read, err := read(limited)
		if err == nil {
			l.keep(key, read)
		}
		return read, err
	})
	select {
	case a := <-answer:
		list, _ := a.Val.(Listing)
		return list, a.Err
	case <-ctx.Done():
		return Listing{}, ctx.Err()
	}
}

func (l *listings) find(key string) (Listing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.kept[key]
	return found.Listing, ok && l.now().Before(found.until)
}

func (l *listings) keep(key string, list Listing) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) >= maxListings {
		for other, k := range l.kept {
			if !now.Before(k.until) {
				delete(l.kept, other)
			}
		}
		if len(l.kept) >= maxListings {
			clear(l.kept)
		}
	}
	l.kept[key] = kept{Listing: list, until: now.Add(listingFresh)}
}
