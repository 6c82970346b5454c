package deployment

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

var digestShape = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

const (
	// maxReference bounds a reference of an image that a node tells of, in bytes.
	maxReference = 1024
	// maxOtherImages is of how many images besides the instances' own the
	// digests of one release are kept.
	maxOtherImages = 5 * spec.MaxWorkloads
)

// Ending is how a release ended.
type Ending struct {
	// Outcome is a final one.
	Outcome Outcome
	// Failure is set of a failed release.
	Failure *workload.Failure
	// Digests are of the images, by instance.
	Digests map[string]string
	At      time.Time
}

// made returns a release of which is known who makes it, and by what.
func made(who actor.Actor) Release {
	r := Release{Trigger: TriggerUser, CreatedBy: who.Ref(), Actor: Maker{Kind: who.Kind, Name: who.Name}}
	switch who.Credential {
	case actor.Personal:
		r.Trigger = TriggerAPIToken
	case actor.Bound:
		r.Trigger = TriggerDeployToken
	case actor.Federated:
		r.Trigger = TriggerOIDC
	case actor.Session:
	}
	return r
}

// Releases returns the newest releases of a deployment's ledger, newest first,
// without their specs. Errors: NotFound.
func (s *Service) Releases(ctx context.Context, id uuid.UUID) ([]Release, error) {
	if _, err := s.find(ctx, authz.DeploymentRead, id); err != nil {
		return nil, err
	}
	return s.Store.ListReleases(ctx, id, MaxLogPage)
}

// GetRelease returns a release with its spec. Errors: NotFound.
func (s *Service) GetRelease(ctx context.Context, id uuid.UUID, number int64) (Release, error) {
	if _, err := s.find(ctx, authz.DeploymentRead, id); err != nil {
		return Release{}, err
	}
	return s.readRelease(ctx, id, number)
}

func (s *Service) readRelease(ctx context.Context, id uuid.UUID, number int64) (Release, error) {
	r, err := s.Store.ReadRelease(ctx, id, number)
	if apperr.Is(err, apperr.NotFound) {
		return Release{}, noSuchRelease(number)
	}
	return r, err
}

func noSuchRelease(number int64) error {
	return apperr.New(apperr.NotFound, "the deployment has no such release").WithField("number", number)
}

// boundDigests keeps of what a node told what can be the digest of an instance's
// image, or of another image that it needs.
func boundDigests(told map[string]string) map[string]string {
	var kept map[string]string
	mains, others := 0, 0
	for key, digest := range told {
		instance, reference, other := strings.Cut(key, otherSeparator)
		if uuid.Validate(instance) != nil || !digestShape.MatchString(digest) || other && (reference == "" || len(reference) > maxReference) {
			continue
		}
		count, most := &mains, spec.MaxWorkloads
		if other {
			count, most = &others, maxOtherImages
		}
		if *count == most {
			continue
		}
		*count++
		if kept == nil {
			kept = map[string]string{}
		}
		kept[key] = digest
	}
	return kept
}
