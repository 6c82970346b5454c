package lease

import (
	"context"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// seldom is a lock whose holder renews it seldom though it is asked to often: so
// who waits for it notices soon that it is free, and who has it is no load.
type seldom struct {
	*resourcelock.LeaseLock
	// written is when the lease was last written, as holder's; zero when nothing is
	// to be left out.
	written time.Time
	holder  string
}

// Update writes the record, unless it was written a moment ago and says the same.
func (s *seldom) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	now := time.Now()
	if record.HolderIdentity == s.holder && now.Sub(s.written) < period {
		return nil
	}
	s.written = time.Time{}
	if err := s.LeaseLock.Update(ctx, record); err != nil {
		return err
	}
	s.written, s.holder = now, record.HolderIdentity
	return nil
}

// Get reads the record: what is written after it is not left out.
func (s *seldom) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	s.written = time.Time{}
	return s.LeaseLock.Get(ctx)
}
