package user

import (
	"context"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// absentHash is checked when there is no such account, so that the answer
// takes as long as for a wrong password. It is the hash of random text.
const absentHash = "$argon2id$v=19$m=65536,t=1,p=2$Yf9Wf0kq7mN3cSDu6eVPMQ$9x0qkP0sY8wGm0V2v6F0lWgM1dS4sI0kq2r0Yh7c3wE"

// Login starts a session and returns its token and end. A wrong address and a
// wrong password are the same Unauthenticated error.
func (s *Service) Login(ctx context.Context, email, password string) (secret string, expiresAt time.Time, err error) {
	refused := apperr.New(apperr.Unauthenticated, "no account with this e-mail address and password")
	if len(password) > MaxPasswordLength {
		return "", time.Time{}, refused
	}
	email, err = NormalEmail(email)
	if err != nil {
		return "", time.Time{}, refused
	}
	u, err := s.Store.FindUserByEmail(ctx, email)
	if apperr.Is(err, apperr.NotFound) {
		_, _ = s.Hasher.Matches(password, absentHash)
		return "", time.Time{}, refused
	}
	if err != nil {
		return "", time.Time{}, err
	}
	matches, err := s.Hasher.Matches(password, u.PasswordHash)
	if err != nil {
		return "", time.Time{}, err
	}
	if !matches {
		return "", time.Time{}, refused
	}
	var t token.Token
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.TouchLogin(ctx, u.ID, s.Now()); err != nil {
			return err
		}
		if t, secret, err = s.Issuer.Issue(ctx, u.ID, token.Session, "", token.SessionLifetime); err != nil {
			return err
		}
		return s.Audit.Record(as(ctx, u), authz.SelfLogin, map[string]any{"id": u.ID})
	})
	return secret, t.ExpiresAt, err
}

// Logout ends the session (or revokes the token) the request came with.
func (s *Service) Logout(ctx context.Context) error {
	who, err := authz.RequireSelf(ctx, authz.SelfLogout)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Tokens.DeleteToken(ctx, who.TokenID); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.SelfLogout, map[string]any{"id": who.ID})
	})
}

// as makes somebody who has just shown who they are the actor of what follows.
func as(ctx context.Context, u User) context.Context {
	return actor.With(ctx, actor.Actor{Kind: actor.User, ID: u.ID, Name: u.Name, Email: u.Email, Method: "post"})
}

// Authenticate turns a presented token into the actor it stands for; an
// Unauthenticated error for any token that does not hold.
func (s *Service) Authenticate(ctx context.Context, presented string) (actor.Actor, error) {
	t, err := s.Issuer.Verify(ctx, presented)
	if err != nil {
		return actor.Actor{}, err
	}
	u, err := s.Store.FindUser(ctx, t.UserID)
	if err != nil {
		return actor.Actor{}, err
	}
	return actor.Actor{
		Kind: actor.User, ID: u.ID, Name: u.Name, Email: u.Email,
		Administrator: u.Admin, TokenID: t.ID, TokenExpiresAt: t.ExpiresAt, Credential: credentialOf(t.Kind),
	}, nil
}

func credentialOf(kind token.Kind) actor.Credential {
	if kind == token.Personal {
		return actor.Personal
	}
	return actor.Session
}
