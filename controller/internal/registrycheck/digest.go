package registrycheck

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
)

// Digest asks a registry which image a reference stands for now; a login
// without a user is none. It returns "sha256:" and hex. Errors: Invalid for
// what is no reference, NotFound when there is no such image, Unauthenticated
// when the login does not open it, Unavailable when the registry does not
// answer or is at an address that is not called.
func (c *Checker) Digest(ctx context.Context, reference string, login registry.Login) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", apperr.Wrap(apperr.Invalid, err, "ask for %s: it is no reference", reference)
	}
	auth := authn.Anonymous
	if login.Username != "" {
		auth = &authn.Basic{Username: login.Username, Password: login.Password}
	}
	found, err := remote.Head(ref, remote.WithContext(ctx), remote.WithAuth(auth), remote.WithTransport(c.transport))
	var answer *transport.Error
	switch {
	case err == nil:
		return found.Digest.String(), nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return "", apperr.Wrap(apperr.NotFound, err, "ask for %s: the registry has no such image", reference)
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return "", apperr.Wrap(apperr.Unauthenticated, err, "ask for %s: the registry wants another login", reference)
	default:
		return "", apperr.Wrap(apperr.Unavailable, err, "ask for %s: the registry does not answer", reference)
	}
}
