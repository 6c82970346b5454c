package user

import (
	"context"
	"crypto/subtle"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// RegisterCommand asks for an account.
type RegisterCommand struct {
	Email    string
	Password string
	// Name defaults to the part of the address before the @.
	Name string
	// SetupToken is needed for the first account only.
	SetupToken string
	// InvitationToken is the one in an invitation's link. It lets the invited
	// address register where registration is closed, and makes the invitation
	// the new account's to answer.
	InvitationToken string
}

// Register makes an account. The first one is the administrator's and needs
// the set-up token that the controller printed at its start, so that nobody
// who merely reaches the port takes a new installation over. Errors: Invalid,
// Forbidden, Conflict when the address has an account.
func (s *Service) Register(ctx context.Context, cmd RegisterCommand) (User, error) {
	u, err := s.newUser(cmd.Email, cmd.Password, cmd.Name)
	if err != nil {
		return User{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		first, err := s.Store.LockFirstUser(ctx)
		switch {
		case err != nil:
			return err
		case first && subtle.ConstantTimeCompare([]byte(cmd.SetupToken), []byte(s.SetupToken)) != 1:
			return apperr.New(apperr.Forbidden,
				"the first account needs the set-up token from the link that the controller printed at its start").WithField("setupToken", nil)
		case cmd.InvitationToken != "":
			if err := s.registerInvited(ctx, &u, cmd.InvitationToken); err != nil {
				return err
			}
			return s.registered(as(ctx, u), u)
		case !first && !s.OpenRegistration:
			return apperr.New(apperr.Forbidden,
				"registration is closed on this installation; ask its administrator, or use the link of an invitation")
		}
		u.Admin = first
		if err := s.Store.InsertUser(ctx, u); err != nil {
			return err
		}
		return s.registered(as(ctx, u), u)
	})
	return u, err
}

func (s *Service) registered(ctx context.Context, u User) error {
	return s.Audit.Record(ctx, authz.SelfRegister, map[string]any{"id": u.ID, "email": u.Email, "admin": u.Admin})
}

// registerInvited makes the account an invitation is for. It gets the id that
// the team knows the invited person by.
func (s *Service) registerInvited(ctx context.Context, u *User, presented string) error {
	if len(presented) > MaxPasswordLength {
		return noInvitation()
	}
	id, err := s.Store.FindOpenInvitation(ctx, u.Email, token.Hash(presented), s.Now())
	if apperr.Is(err, apperr.NotFound) {
		return noInvitation()
	}
	if err != nil {
		return err
	}
	u.ID = id
	if err := s.Store.InsertUser(ctx, *u); err != nil {
		return err
	}
	return s.Store.BindInvitation(ctx, id, u.ID)
}

func noInvitation() error {
	return apperr.New(apperr.Forbidden,
		"no pending invitation for this e-mail address has this token; ask to be invited again").WithField("invitationToken", nil)
}

// EnsureAdministrator makes the first account from configuration. It does
// nothing when there is any account already, and reports whether it made one.
func (s *Service) EnsureAdministrator(ctx context.Context, email, password string) (bool, error) {
	empty, err := s.NeedsSetup(ctx)
	if err != nil || !empty {
		return false, err
	}
	// Not within the transaction: hashing takes its time on a busy machine, and
	// the database ends a transaction that is idle.
	u, err := s.newUser(email, password, "")
	if err != nil {
		return false, err
	}
	made := false
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		first, err := s.Store.LockFirstUser(ctx)
		if err != nil || !first {
			return err
		}
		u.Admin, made = true, true
		if err := s.Store.InsertUser(ctx, u); err != nil {
			return err
		}
		return s.registered(ctx, u)
	})
	return made, err
}

// NeedsSetup reports whether there is no account yet.
func (s *Service) NeedsSetup(ctx context.Context) (bool, error) {
	var empty bool
	err := s.Store.InTx(ctx, func(ctx context.Context) (err error) {
		empty, err = s.Store.LockFirstUser(ctx)
		return err
	})
	return empty, err
}

func (s *Service) newUser(email, password, name string) (User, error) {
	email, err := NormalEmail(email)
	if err != nil {
		return User{}, err
	}
	if err := validPassword(password); err != nil {
		return User{}, err
	}
	if strings.TrimSpace(name) == "" {
		name, _, _ = strings.Cut(email, "@")
	}
	if name, err = naming.Check(name, 1); err != nil {
		return User{}, err
	}
	hash, err := s.Hasher.Hash(password)
	if err != nil {
		return User{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return User{}, err
	}
	return User{ID: id, Email: email, Name: name, PasswordHash: hash, CreatedAt: s.Now()}, nil
}
