package registry

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

const (
	// maxNames bounds how many repositories or tags are read of a registry.
	maxNames = 10_000
	// MaxPage bounds how many are answered at once.
	MaxPage = 1000
)

// Listing is what a registry has of something.
type Listing struct {
	Names []string
	// Complete tells that the registry has no more.
	Complete bool
}

// Manifest says what a reference stands for now.
type Manifest struct {
	Digest    string
	MediaType string
	// Size of the manifest, in bytes.
	Size int64
}

// Browser looks into live registries. Errors: NotFound; Unauthenticated when
// the login does not suffice; Unsupported when the registry does not tell;
// Precondition when it must not be asked; Unavailable when it does not answer.
type Browser interface {
	// Repositories lists at most limit repositories of the registry at host.
	Repositories(ctx context.Context, host string, login Login, limit int) (Listing, error)
	// Tags lists at most limit tags of a repository.
	Tags(ctx context.Context, host, repository string, login Login, limit int) (Listing, error)
	// Manifest asks what a tag or a digest stands for.
	Manifest(ctx context.Context, host, repository, reference string, login Login) (Manifest, error)
}

// WithBrowser lets the service look into registries. It returns s.
func (s *Service) WithBrowser(b Browser) *Service {
	s.browser, s.listings = b, newListings(s.now)
	return s
}

// Query picks a part of a listing.
type Query struct {
	// Filter is a part of the name; empty for all.
	Filter     string
	Skip, Take int
}

// Page is a part of a listing.
type Page struct {
	Names []string
	// Total counts those that the filter leaves.
	Total int
	// Complete is false when the registry has more than is ever read of it.
	Complete bool
}

// Repositories lists a registry's repositories as images are named below it.
// Errors: NotFound; Unsupported when the registry does not list them;
// Precondition and Unavailable when it can't be asked.
func (s *Service) Repositories(ctx context.Context, id uuid.UUID, q Query) (Page, error) {
	r, login, err := s.open(ctx, id)
	if err != nil {
		return Page{}, err
	}
	all, err := s.listings.get(ctx, key(r, ""), func(ctx context.Context) (Listing, error) {
		return s.browser.Repositories(ctx, r.Details.asked(), login, maxNames)
	})
	if err != nil {
		return Page{}, browseError(r, err)
	}
	below := Listing{Complete: all.Complete}
	for _, name := range all.Names {
		if name, found := strings.CutPrefix(name, r.Details.prefixPath()); found && name != "" {
			below.Names = append(below.Names, name)
		}
	}
	return below.page(q), nil
}

// Tags lists the tags of a registry's repository, which is named as images are.
// Errors: NotFound, also of the repository; Invalid; Precondition and
// Unavailable when the registry can't be asked.
func (s *Service) Tags(ctx context.Context, id uuid.UUID, repository string, q Query) (Page, error) {
	r, login, err := s.open(ctx, id)
	if err != nil {
		return Page{}, err
	}
	path, err := r.repository(repository)
	if err != nil {
		return Page{}, err
	}
	all, err := s.listings.get(ctx, key(r, path), func(ctx context.Context) (Listing, error) {
		return s.browser.Tags(ctx, r.Details.asked(), path, login, maxNames)
	})
	if err != nil {
		return Page{}, browseError(r, err)
	}
	return all.page(q), nil
}

// Manifest tells what a tag or a digest of a repository stands for now. Errors:
// NotFound; Invalid; Precondition and Unavailable when the registry can't be
// asked.
func (s *Service) Manifest(ctx context.Context, id uuid.UUID, repository, reference string) (Manifest, error) {
	r, login, err := s.open(ctx, id)
	if err != nil {
		return Manifest{}, err
	}
	path, err := r.repository(repository)
	if err != nil {
		return Manifest{}, err
	}
	if err := CheckTag(reference); err != nil || strings.Contains(reference, "@") {
		return Manifest{}, apperr.InvalidField("reference", reference, "must be a tag, or a digest such as sha256:…")
	}
	m, err := s.browser.Manifest(ctx, r.Details.asked(), path, reference, login)
	return m, browseError(r, err)
}

// open finds a registry that may be asked, and its login.
func (s *Service) open(ctx context.Context, id uuid.UUID) (Registry, Login, error) {
	scope, _, err := authz.Require(ctx, authz.RegistryRead)
	if err != nil {
		return Registry{}, Login{}, err
	}
	r, err := s.store.FindRegistry(ctx, scope.ID, id)
	switch {
	case err != nil:
		return Registry{}, Login{}, err
	case s.browser == nil:
		return Registry{}, Login{}, apperr.New(apperr.Unsupported, "this installation does not ask registries (FAIRLEAD_REGISTRY_CHECK=off)")
	case r.Details.Type == Unchecked:
		return Registry{}, Login{}, apperr.New(apperr.Precondition, "a registry of the type %q is never asked", Unchecked).WithField("registryId", id)
	case r.Username == "":
		return r, Login{}, nil
	}
	password, err := s.vault.Open(purpose(id), r.SealedPassword)
	return r, Login{Username: r.Username, Password: password}, err
}

// repository returns the path of a repository in the registry.
func (r Registry) repository(name string) (string, error) {
	if parsed, tag, err := ParseImage(name); err != nil || parsed != name || tag != defaultTag {
		return "", apperr.InvalidField("repository", name, "must be the name of an image below the registry, without tag: group/app")
	}
	return r.Details.prefixPath() + name, nil
}

// asked is the host that a registry's questions go to.
func (d Details) asked() string {
	if d.Type == Hub {
		return hubAPI
	}
	return d.host()
}

// prefixPath is what stands before the names of images in the registry's own
// names: "" or "group/".
func (d Details) prefixPath() string {
	if _, path, found := strings.Cut(d.base(), "/"); found && path != "" {
		return path + "/"
	}
	return ""
}

func (l Listing) page(q Query) Page {
	p := Page{Names: []string{}, Complete: l.Complete}
	for _, name := range l.Names {
		if !strings.Contains(name, q.Filter) {
			continue
		}
		if p.Total >= q.Skip && len(p.Names) < min(q.Take, MaxPage) {
			p.Names = append(p.Names, name)
		}
		p.Total++
	}
	return p
}

// browseError says whose answer an error was. What the registry does not let
// us do is nothing the caller is refused.
func browseError(r Registry, err error) error {
	if err == nil {
		return nil
	}
	kind := apperr.KindOf(err)
	if kind == apperr.Unauthenticated {
		kind = apperr.Precondition
	}
	if kind == apperr.Internal {
		return err
	}
	return apperr.Wrap(kind, err, "the registry %s was asked, and %s", r.Details.asked(), text(err)).WithField("registryId", r.ID)
}
