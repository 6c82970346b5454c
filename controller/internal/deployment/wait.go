package deployment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// MaxWait bounds how long one call waits for a release.
const MaxWait = 10 * time.Minute

// waitPoll backs up the hints that a deployment has changed.
const waitPoll = 5 * time.Second

// Wait returns a release when it has its outcome, or as it is when the time is
// over or ctx ends. Errors: Invalid for a time that is not above 0 and at most
// MaxWait; NotFound, also when the deployment is deleted meanwhile.
func (s *Service) Wait(ctx context.Context, id uuid.UUID, number int64, limit time.Duration) (Release, error) {
	if err := CheckWait(limit); err != nil {
		return Release{}, err
	}
	if _, err := s.find(ctx, authz.DeploymentRead, id); err != nil {
		return Release{}, err
	}
	hints, stop := s.Watch(id)
	defer stop()
	over := time.NewTimer(limit)
	defer over.Stop()
	poll := time.NewTicker(waitPoll)
	defer poll.Stop()
	for {
		r, err := s.Store.FindReleaseByNumber(ctx, id, number)
		if apperr.Is(err, apperr.NotFound) {
			return Release{}, noSuchDeployment(id)
		}
		if err != nil || r.Outcome.Final() {
			return r, err
		}
		select {
		case <-hints:
		case <-poll.C:
		case <-over.C:
			return r, nil
		case <-ctx.Done(): // nobody listens any more
			return r, nil
		}
	}
}

// CheckWait tells before anything is started whether Wait takes the time.
func CheckWait(limit time.Duration) error {
	if limit <= 0 || limit > MaxWait {
		return apperr.InvalidField("wait", limit.String(), "must be above 0 and at most %s", MaxWait)
	}
	return nil
}
