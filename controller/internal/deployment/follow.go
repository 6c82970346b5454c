package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
)

// followPage is how many entries Follow hands over at a time.
const followPage = 200

// Following is a log as somebody follows it.
type Following struct {
	service *Service
	id      uuid.UUID
	// at is the number of the last entry that was handed over.
	at int64
	// newest is the release that was the newest when the following began.
	newest int64
	// Hints tells that there may be something new.
	Hints <-chan struct{}
	stop  func()
}

// Follow follows a deployment's log from behind the entry with a number; 0 is
// the beginning of what is said of its newest release. Close ends it. Errors:
// NotFound.
func (s *Service) Follow(ctx context.Context, id uuid.UUID, after int64) (*Following, error) {
	d, err := s.find(ctx, authz.DeploymentRead, id)
	if err != nil {
		return nil, err
	}
	if after == 0 {
		if after, err = s.Store.FirstOfRelease(ctx, id, d.Tries); err != nil {
			return nil, err
		}
	}
	hints, stop := s.Watch(id)
	return &Following{service: s, id: id, at: after, newest: d.Tries, Hints: hints, stop: stop}, nil
}

// Close stops the hints.
func (f *Following) Close() { f.stop() }

// Next returns entries that were not handed over yet, in ascending order; none
// when there are none now. It fails with NotFound once the deployment is
// deleted.
func (f *Following) Next(ctx context.Context) ([]LogEntry, error) {
	entries, err := f.service.Store.ListLogAfter(ctx, f.id, f.at, followPage)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		f.at = entries[len(entries)-1].Number
		return entries, nil
	}
	_, err = f.service.find(ctx, authz.DeploymentRead, f.id)
	return nil, err
}

// Outcome reports whether an entry tells the outcome of the release that was
// the newest when the following began, or of a later one.
func (f *Following) Outcome(e LogEntry) bool {
	return e.Type == EntryState && e.Release >= f.newest && e.State != InProgress && e.State != Preparing
}
