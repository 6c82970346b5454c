package kube

import (
	"errors"
	"net"
	"net/url"

	kerrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/shared/apperr"
)

// clusterError gives an error of the API server its kind and says what was
// attempted. It is the only place that reads the server's reasons.
func clusterError(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return apperr.Wrap(kindOf(err), err, format, args...)
}

func kindOf(err error) apperr.Kind {
	var dialing *net.OpError
	var calling *url.Error
	switch {
	case kerrors.IsNotFound(err):
		return apperr.NotFound
	case kerrors.IsConflict(err), kerrors.IsAlreadyExists(err):
		return apperr.Conflict
	case kerrors.IsInvalid(err), kerrors.IsBadRequest(err):
		return apperr.Invalid
	case kerrors.IsForbidden(err), kerrors.IsUnauthorized(err):
		return apperr.Forbidden
	case kerrors.IsServerTimeout(err), kerrors.IsTimeout(err), kerrors.IsServiceUnavailable(err),
		kerrors.IsTooManyRequests(err), kerrors.IsInternalError(err),
		errors.As(err, &dialing), errors.As(err, &calling):
		return apperr.Unavailable
	default:
		return apperr.Internal
	}
}
