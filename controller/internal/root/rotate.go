package root

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// shown is how many agents that stand in the way are named.
const shown = 20

// Config is what a Service needs.
type Config struct {
	Ring  Ring
	Store Store
	Audit *audit.Log
	Now   func() time.Time
	// Seen is how recently an agent must have been connected for a step to
	// wait for it.
	Seen time.Duration
	// Issued is how long a certificate that a root signed can be good after
	// the root stopped signing.
	Issued time.Duration
}

// Service takes the steps of a rotation.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// Progress is a root and who trusts it.
type Progress struct {
	Root
	// All counts every agent, Recent those that a step waits for.
	All, Recent Count
	// Missing are agents seen recently that do not trust it, the first of
	// them when there are many.
	Missing []Doubter
}

// List returns the roots, oldest first, and who trusts them.
func (s *Service) List(ctx context.Context) ([]Progress, error) {
	var list []Progress
	for _, r := range s.Ring.List() {
		p, err := s.progress(ctx, r)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func (s *Service) progress(ctx context.Context, r Root) (Progress, error) {
	since := s.Now().Add(-s.Seen)
	all, err := s.Store.CountTrust(ctx, r.SHA256, time.Time{})
	if err != nil {
		return Progress{}, err
	}
	recent, err := s.Store.CountTrust(ctx, r.SHA256, since)
	if err != nil {
		return Progress{}, err
	}
	missing, err := s.Store.ListDoubters(ctx, r.SHA256, since, shown)
	return Progress{Root: r, All: all, Recent: recent, Missing: missing}, err
}

// Prepare makes the next root, of which connected agents are told at once and
// others when they return. Conflict when there is one already.
func (s *Service) Prepare(ctx context.Context) (Root, error) {
	r, err := s.Ring.Prepare()
	if err != nil {
		return r, err
	}
	return r, s.record(ctx, authz.RootPrepare, r, false)
}

// Promote lets the next root sign from now on. Precondition when there is none,
// or when an agent that was seen recently does not trust it yet and force is
// not set.
func (s *Service) Promote(ctx context.Context, force bool) (Root, error) {
	i := slices.IndexFunc(s.Ring.List(), func(r Root) bool { return r.State == Next })
	if i >= 0 && !force {
		if err := s.trusted(ctx, s.Ring.List()[i], "promote"); err != nil {
			return Root{}, err
		}
	}
	r, err := s.Ring.Promote()
	if err != nil {
		return r, err
	}
	return r, s.record(ctx, authz.RootPromote, r, force)
}

// Retire gives up the root whose SHA-256 begins so. NotFound when there is none
// or more than one; Precondition for the current root, and for an old one when
// force is not set and an agent that was seen recently does not trust the
// current one, or a certificate that the old one signed can still be good.
// Agents that were away for longer and trust the old one alone must be
// installed anew from then on.
func (s *Service) Retire(ctx context.Context, prefix string, force bool) (Root, error) {
	var found []Root
	var current Root
	for _, r := range s.Ring.List() {
		if strings.HasPrefix(r.SHA256, strings.ToLower(prefix)) {
			found = append(found, r)
		}
		if r.State == Current {
			current = r
		}
	}
	if len(found) != 1 || prefix == "" {
		return Root{}, apperr.New(apperr.NotFound, "%d roots begin with %q, want exactly one", len(found), prefix)
	}
	r := found[0]
	if r.State == Old && !force {
		if err := s.trusted(ctx, current, "retire the old one"); err != nil {
			return Root{}, err
		}
		if until := r.Since.Add(s.Issued); s.Now().Before(until) {
			return Root{}, apperr.New(apperr.Precondition,
				"certificates of agents that this root signed are good until %s: retire it after that, or use --force, and agents will ask for others",
				until.UTC().Format(time.RFC3339))
		}
	}
	if err := s.Ring.Retire(r.SHA256); err != nil {
		return r, err
	}
	return r, s.record(ctx, authz.RootRetire, r, force)
}

// record writes a step that was taken to the audit log. Roots are files, so it
// can't be one transaction; the error says that the step was taken.
func (s *Service) record(ctx context.Context, step authz.Action, r Root, force bool) error {
	if err := s.Audit.Record(ctx, step, map[string]any{"sha256": r.SHA256, "force": force}); err != nil {
		return fmt.Errorf("the step was taken (%s of the root %.16s), but could not be written to the audit log: %w", step, r.SHA256, err)
	}
	return nil
}

// trusted fails with Precondition, naming agents, while some that were seen
// recently do not trust the root.
func (s *Service) trusted(ctx context.Context, r Root, act string) error {
	p, err := s.progress(ctx, r)
	if err != nil || p.Recent.Trusted == p.Recent.Agents {
		return err
	}
	return apperr.New(apperr.Precondition,
		"%d of %d agents seen in the last %s do not trust the root %.16s yet, so it is too early to %s: %s. "+
			"Wait for them, delete nodes that will not come back, or use --force",
		p.Recent.Agents-p.Recent.Trusted, p.Recent.Agents, days(s.Seen), r.SHA256, act, Names(p))
}

// Names says which agents do not trust a root, for people.
func Names(p Progress) string {
	var names []string
	for _, d := range p.Missing {
		name := d.Team + "/" + d.Node
		if d.Silent {
			name += " (its agent is too old to be told: install it anew)"
		}
		names = append(names, name)
	}
	if more := p.Recent.Agents - p.Recent.Trusted - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d/(24*time.Hour))) }
