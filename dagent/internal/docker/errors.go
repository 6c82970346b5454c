package docker

import (
	"context"
	"errors"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"fairlead.dev/shared/apperr"
)

// engineError gives an error of the engine its kind. An error that has a kind
// already keeps it.
func engineError(err error, format string, args ...any) error {
	var known *apperr.Error
	kind := apperr.Internal
	switch {
	case errors.As(err, &known):
		kind = known.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		client.IsErrConnectionFailed(err), cerrdefs.IsUnavailable(err):
		kind = apperr.Unavailable
	case cerrdefs.IsNotFound(err):
		kind = apperr.NotFound
	case cerrdefs.IsInvalidArgument(err):
		kind = apperr.Invalid
	case cerrdefs.IsConflict(err):
		kind = apperr.Conflict
	case cerrdefs.IsUnauthorized(err):
		kind = apperr.Unauthenticated
	case cerrdefs.IsPermissionDenied(err):
		kind = apperr.Forbidden
	}
	return apperr.Wrap(kind, err, format, args...)
}
