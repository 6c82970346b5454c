package registry

import (
	"context"
	"errors"

	"fairlead.dev/shared/apperr"
)

// Checker asks live registries.
type Checker interface {
	// Check asks the registry at host whether it is one and takes the login.
	// Errors: Invalid when it is no registry, Unauthenticated when it does not
	// take the login or needs one, Unavailable when it does not answer.
	Check(ctx context.Context, host string, login Login) error
}

// WithChecker makes the service ask each registry, except those of the type
// Unchecked, before it saves what it was told of them. It returns s.
func (s *Service) WithChecker(c Checker) *Service {
	s.checker = c
	return s
}

// hubAPI is where Docker Hub's images are, which engines call docker.io.
const hubAPI = "index.docker.io"

// check asks the live registry; the error names the field at fault.
func (s *Service) check(ctx context.Context, d Details, l Login) error {
	if s.checker == nil || d.Type == Unchecked {
		return nil
	}
	host := d.host()
	if d.Type == Hub {
		host = hubAPI
	}
	err := s.checker.Check(ctx, host, l)
	switch {
	case apperr.Is(err, apperr.Unauthenticated):
		return apperr.Wrap(apperr.Invalid, err, "the registry %s was asked, and %s", host, text(err)).WithField("details.token", nil)
	case apperr.Is(err, apperr.Invalid):
		return apperr.Wrap(apperr.Invalid, err, "%s was asked, and %s", host, text(err)).WithField("details.url", d.URL)
	case apperr.Is(err, apperr.Unavailable):
		return apperr.Wrap(apperr.Precondition, err, "the registry %s was asked, and %s; "+
			"to save it all the same, without asking, give it the type %q", host, text(err), Unchecked).WithField("details.url", d.URL)
	default:
		return err
	}
}

// checkChange asks the live registry about a change of what there is. A
// password that is kept goes to the host it was given for and to no other.
func (s *Service) checkChange(ctx context.Context, have Registry, w Write) error {
	if s.checker == nil || w.Login == nil && have.Details == w.Details {
		return nil
	}
	if w.Login != nil {
		return s.check(ctx, w.Details, *w.Login)
	}
	login := Login{}
	if have.Username != "" {
		if have.Details.host() != w.Details.host() {
			return loginMissingAtHost()
		}
		password, err := s.vault.Open(purpose(have.ID), have.SealedPassword)
		if err != nil {
			return err
		}
		login = Login{Username: have.Username, Password: password}
	}
	return s.check(ctx, w.Details, login)
}

func loginMissingAtHost() error {
	return apperr.InvalidField("details.token", nil,
		"is missing: give user and token again when the registry moves to another host, or empty ones for none")
}

func text(err error) string {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
