package registrycheck

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"fairlead.dev/controller/internal/outbound"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
)

const (
	// pageSize is what a registry is asked for at once; many answer less.
	pageSize = 1000
	// maxPages bounds how often it is asked for one listing.
	maxPages = 100
)

// Repositories lists at most limit repositories. Errors: as registry.Browser
// has them.
func (c *Checker) Repositories(ctx context.Context, host string, login registry.Login, limit int) (registry.Listing, error) {
	reg, err := name.NewRegistry(host)
	if err != nil {
		return registry.Listing{}, apperr.Wrap(apperr.Precondition, err, "it has no address that can be asked")
	}
	puller, err := c.puller(login)
	if err != nil {
		return registry.Listing{}, err
	}
	pages, err := puller.Catalogger(ctx, reg)
	if err != nil {
		return registry.Listing{}, catalogError(err)
	}
	var list registry.Listing
	for range maxPages {
		if !pages.HasNext() {
			list.Complete = true
			break
		}
		page, err := pages.Next(ctx)
		if err != nil {
			return registry.Listing{}, catalogError(err)
		}
		if list.Names = append(list.Names, page.Repos...); len(list.Names) > limit {
			list.Names = list.Names[:limit]
			break
		}
	}
	return list, nil
}

// Tags lists at most limit tags of a repository. Errors: as registry.Browser
// has them.
func (c *Checker) Tags(ctx context.Context, host, repository string, login registry.Login, limit int) (registry.Listing, error) {
	repo, err := name.NewRepository(host + "/" + repository)
	if err != nil {
		return registry.Listing{}, apperr.Wrap(apperr.Precondition, err, "it has no address that can be asked")
	}
	puller, err := c.puller(login)
	if err != nil {
		return registry.Listing{}, err
	}
	pages, err := puller.Lister(ctx, repo)
	if err != nil {
		return registry.Listing{}, browseError(err)
	}
	var list registry.Listing
	for range maxPages {
		if !pages.HasNext() {
			list.Complete = true
			break
		}
		page, err := pages.Next(ctx)
		if err != nil {
			return registry.Listing{}, browseError(err)
		}
		if list.Names = append(list.Names, page.Tags...); len(list.Names) > limit {
			list.Names = list.Names[:limit]
			break
		}
	}
	return list, nil
}

// Manifest asks what a tag or a digest stands for. Errors: as registry.Browser
// has them.
func (c *Checker) Manifest(ctx context.Context, host, repository, reference string, login registry.Login) (registry.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	ref, err := name.ParseReference(host + "/" + repository + separator + reference)
	if err != nil {
		return registry.Manifest{}, apperr.Wrap(apperr.Precondition, err, "it has no address that can be asked")
	}
	puller, err := c.puller(login)
	if err != nil {
		return registry.Manifest{}, err
	}
	found, err := puller.Head(ctx, ref)
	if err != nil {
		return registry.Manifest{}, browseError(err)
	}
	return registry.Manifest{Digest: found.Digest.String(), MediaType: string(found.MediaType), Size: found.Size}, nil
}

func (c *Checker) puller(login registry.Login) (*remote.Puller, error) {
	auth := authn.Anonymous
	if login.Username != "" {
		auth = &authn.Basic{Username: login.Username, Password: login.Password}
	}
	return remote.NewPuller(remote.WithTransport(c.transport), remote.WithAuth(auth), remote.WithPageSize(pageSize),
		// A person waits: who is away is not asked again and again.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
}

// catalogError is browseError for the list of repositories, which many
// registries keep to themselves.
func catalogError(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests {
		return apperr.Wrap(apperr.Unsupported, err, "it does not list its repositories to this login (it answers %d): name the repository yourself", answer.StatusCode)
	}
	return browseError(err)
}

func browseError(err error) error {
	var private outbound.PrivateError
	if errors.As(err, &private) {
		return apperr.New(apperr.Precondition, "its address is not a public one, which this installation does not ask (FAIRLEAD_REGISTRY_CHECK=private would)")
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return pingError(err)
	}
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound:
		return apperr.Wrap(apperr.NotFound, err, "it does not have that, or not for this login")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return apperr.Wrap(apperr.Unauthenticated, err, "it does not let this login in (it answers %d)", status)
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests:
		return apperr.Wrap(apperr.Unavailable, err, "it can't be reached: it answers %d", status)
	default:
		return apperr.Wrap(apperr.Unsupported, err, "it does not answer that: %d", status)
	}
}
