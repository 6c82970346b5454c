package deployment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ReasonHeld is the reason of an error about a release that is held.
const ReasonHeld = "release-held"

const maxHoldReason = 1000

// resolveTimeout bounds how long a start waits for registries.
const resolveTimeout = 15 * time.Second

// HoldRelease keeps a release from being started again: neither is it rolled
// back to, nor does a start take effect that would run the same images with the
// same configuration. What runs stays. Holding one that is held replaces the
// reason. Errors: Invalid, NotFound.
func (s *Service) HoldRelease(ctx context.Context, id uuid.UUID, number int64, reason string) (Release, error) {
	reason = strings.TrimSpace(reason)
	if reason == "" || len(reason) > maxHoldReason || strings.ContainsRune(reason, 0) {
		return Release{}, apperr.InvalidField("reason", nil, "must be 1 to %d bytes of text", maxHoldReason)
	}
	var r Release
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		_, who, err := authz.Require(ctx, authz.ReleaseHold)
		if err != nil {
			return err
		}
		if r, err = s.lockRelease(ctx, id, number); err != nil {
			return err
		}
		r.Hold = &Hold{Reason: reason, At: s.Now(), By: who.Ref(), ByName: who.Name}
		if err := s.Store.PutHold(ctx, r.ID, *r.Hold); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.ReleaseHold, map[string]any{"id": id, "release": number, "reason": reason})
	})
	return r, err
}

// UnholdRelease lets a release be started again. Errors: NotFound; Precondition
// when it is not held.
func (s *Service) UnholdRelease(ctx context.Context, id uuid.UUID, number int64) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if _, _, err := authz.Require(ctx, authz.ReleaseUnhold); err != nil {
			return err
		}
		r, err := s.lockRelease(ctx, id, number)
		if err != nil {
			return err
		}
		err = s.Store.DropHold(ctx, r.ID)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.Precondition, "release %d is not held", number).WithField("number", number)
		}
		if err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.ReleaseUnhold, map[string]any{"id": id, "release": number})
	})
}

// lockRelease finds a release of a deployment, which it locks: no start is half
// way past the question what is held.
func (s *Service) lockRelease(ctx context.Context, id uuid.UUID, number int64) (Release, error) {
	if _, err := s.lock(ctx, authz.ReleaseHold, id); err != nil {
		return Release{}, err
	}
	return s.readRelease(ctx, id, number)
}

func held(r Release) error {
	return apperr.New(apperr.Precondition, "release %d is held by %s since %s: %s", r.Number, r.Hold.ByName,
		r.Hold.At.UTC().Format(time.RFC3339), r.Hold.Reason).WithField("release", r.Number).WithReason(ReasonHeld)
}

// tagsUnresolvedError ends a transaction in which nothing was done yet: what is
// held can only be told from what is to be started by asking registries, for
// which no transaction waits.
type tagsUnresolvedError struct{ workloads []spec.Workload }

func (e *tagsUnresolvedError) Error() string {
	return fmt.Sprintf("the tags of %d workloads are not resolved yet", len(e.workloads))
}

// checkHeld refuses content that would run the same images with the same
// configuration as a release that is held. Resolved are the digests that tags
// stand for now, "" of those of which nobody can say; nil when nobody was asked
// yet.
func (s *Service) checkHeld(ctx context.Context, d Deployment, content spec.Deployment, resolved map[string]string) error {
	list, err := s.Store.ListHeldReleases(ctx, d.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	config := configHash(content)
	for _, r := range list {
		if configHash(r.Spec) != config {
			continue
		}
		if resolved == nil {
			return &tagsUnresolvedError{content.Workloads}
		}
		if r.sameImages(content, resolved) {
			return held(r)
		}
	}
	return nil
}

// sameImages reports whether content with the same configuration would run the
// release's images, as far as anybody can know: where a digest is not known the
// tags decide.
func (r Release) sameImages(content spec.Deployment, resolved map[string]string) bool {
	for i, w := range content.Workloads {
		then := r.Spec.Workloads[i] // the same configuration: the same number, in the same order
		if !r.sameOthers(then, w) {
			return false
		}
		is := digestIn(w.Image.Reference)
		if is == "" {
			is = resolved[w.Image.Reference]
		}
		switch was := r.digestOf(then); {
		case was != "" && is != "":
			if was != is {
				return false
			}
		case then.Image.Reference != w.Image.Reference:
			return false
		}
	}
	return true
}

// resolve asks registries what the tags of workloads stand for now. A tag that
// nobody can tell of is in the answer as "".
func (s *Service) resolve(ctx context.Context, list []spec.Workload) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	resolved := map[string]string{}
	for _, w := range list {
		reference := w.Image.Reference
		if _, known := resolved[reference]; known || digestIn(reference) != "" {
			continue
		}
		resolved[reference] = ""
		registryID, err := uuid.Parse(w.Image.RegistryID)
		if s.Digest == nil || err != nil {
			continue
		}
		digest, err := s.Digest(ctx, registryID, reference)
		if err != nil {
			s.Logger.Warn("a registry does not tell what a tag stands for", "reference", reference, "error", err)
			continue
		}
		resolved[reference] = digest
	}
	return resolved
}
