package team

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

// InvitationLifetime is how long an invitation can be answered.
const InvitationLifetime = 7 * 24 * time.Hour

const maxTokenLength = 256

// Invitation asks somebody into a team.
type Invitation struct {
	// ID is also that of the account which the invitation makes.
	ID     uuid.UUID
	TeamID uuid.UUID
	// UserID is the account that may answer; the zero UUID until the invited
	// address has one.
	UserID uuid.UUID
	Email  string
	Name   string
	// TokenHash is of the token in the link; that of an account's invitation
	// is nobody's.
	TokenHash []byte
	Declined  bool
	ExpiresAt time.Time
	CreatedAt time.Time
	CreatedBy string
	// LastLogin is the account's.
	LastLogin time.Time
	Mail      InvitationMail
}

// Status is where the invitation stands at a time.
func (i Invitation) Status(now time.Time) Status {
	switch {
	case i.Declined:
		return Declined
	case now.Before(i.ExpiresAt):
		return Pending
	default:
		return Expired
	}
}

func (i Invitation) member(now time.Time) Member {
	m := Member{UserID: i.UserID, Status: i.Status(now), Name: i.Name, Email: i.Email, Role: actor.Member, LastLogin: i.LastLogin, Mail: i.Mail}
	if m.UserID == uuid.Nil {
		m.UserID = i.ID
	}
	return m
}

// Invitee is what is said of somebody who is invited.
type Invitee struct {
	Email     string
	FirstName string
	LastName  string
}

func (i *Invitee) normalize() error {
	var err error
	if i.Email, err = user.NormalEmail(i.Email); err != nil {
		return err
	}
	i.FirstName, i.LastName = strings.TrimSpace(i.FirstName), strings.TrimSpace(i.LastName)
	if i.FirstName == "" {
		return apperr.InvalidField("firstName", i.FirstName, "must not be empty")
	}
	for _, name := range []struct{ field, text string }{{"firstName", i.FirstName}, {"lastName", i.LastName}} {
		if !naming.Plain(name.text) {
			return apperr.InvalidField(name.field, name.text, "must not contain control characters")
		}
	}
	if len([]rune(i.name())) > naming.MaxLength {
		return apperr.InvalidField("firstName", i.FirstName, "must be at most %d characters, with the last name", naming.MaxLength)
	}
	return nil
}

func (i *Invitee) name() string { return strings.TrimSpace(i.FirstName + " " + i.LastName) }

// Invited is what an invitation made.
type Invited struct {
	Member
	// Token is what the address registers with, shown this once; empty when it
	// was sent there, and for an address that has an account, which finds the
	// invitation there.
	Token string
	// Mailed tells that the address is sent the link.
	Mailed bool
}

// Invite asks somebody into the team as user. Where e-mails are sent, the
// address gets one with a link; elsewhere the inviter hands it over. Errors:
// Invalid; Conflict on the address when it is a member's or invited already;
// TooMany when there were too many e-mails.
func (s *Service) Invite(ctx context.Context, invitee Invitee) (Invited, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Invited{}, err
	}
	secret := rand.Text()
	var i Invitation
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.MemberInvite)
		if err != nil {
			return err
		}
		who, err := actor.From(ctx)
		if err != nil {
			return err
		}
		if err := invitee.normalize(); err != nil {
			return err
		}
		now := s.Now()
		i = Invitation{
			ID: id, TeamID: scope.ID, Email: invitee.Email, Name: invitee.name(), TokenHash: token.Hash(secret),
			ExpiresAt: now.Add(InvitationLifetime), CreatedAt: now, CreatedBy: who.Ref(),
		}
		if err := s.address(ctx, &i); err != nil {
			return err
		}
		if err := s.Store.InsertInvitation(ctx, i); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, authz.MemberInvite, map[string]any{"userId": i.member(now).UserID, "email": i.Email}); err != nil {
			return err
		}
		if err := s.mail(ctx, i, secret); err != nil {
			return err
		}
		return s.Outbox.Add(ctx, notification.Message{
			TeamID: scope.ID, Event: notification.UserInvited, Title: i.Email + " was invited to the team " + scope.Slug,
			Facts: []notification.Fact{{Name: "E-mail", Value: i.Email}, {Name: "Team", Value: scope.Slug}, {Name: "Invited by", Value: who.Name}},
		})
	})
	if err != nil {
		return Invited{}, err
	}
	made := Invited{Member: i.member(s.Now()), Mailed: s.Mails.Sends()}
	if i.UserID == uuid.Nil && !made.Mailed {
		made.Token = secret
	}
	return made, nil
}

// address fills in the account that the invited address has, and refuses one
// that is in the team or invited.
func (s *Service) address(ctx context.Context, i *Invitation) error {
	earlier, err := s.Store.FindInvitationByEmail(ctx, i.TeamID, i.Email)
	if err == nil {
		return apperr.New(apperr.Conflict, "this address is invited already and the invitation is %s; "+
			"invite the user again, or remove the user first", earlier.Status(s.Now())).WithField("email", i.Email)
	}
	if !apperr.Is(err, apperr.NotFound) {
		return err
	}
	u, err := s.Store.FindUserByEmail(ctx, i.Email)
	if apperr.Is(err, apperr.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.Store.FindMember(ctx, i.TeamID, u.ID)
	if err == nil {
		return apperr.New(apperr.Conflict, "this address is a member's already").WithField("email", i.Email)
	}
	i.UserID, i.Name, i.LastLogin = u.ID, u.Name, u.LastLoginAt
	if apperr.Is(err, apperr.NotFound) {
		return nil
	}
	return err
}

// Reinvite gives an invitation its whole lifetime anew. Where e-mails are sent,
// another one goes out, with another link, and the earlier link is void;
// elsewhere the link stays the same. Errors: NotFound; Precondition for a
// member, and for who declined; TooMany when there were too many e-mails.
func (s *Service) Reinvite(ctx context.Context, userID uuid.UUID) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.MemberInvite)
		if err != nil {
			return err
		}
		m, err := s.person(ctx, scope.ID, userID)
		switch {
		case err != nil:
			return err
		case m.Status == Verified:
			return apperr.New(apperr.Precondition, "the user is a member already").WithField("userId", userID)
		case m.Status == Declined:
			return apperr.New(apperr.Precondition, "the user declined; remove the user to invite anew").WithField("userId", userID)
		}
		i, err := s.Store.FindInvitation(ctx, scope.ID, userID)
		if err != nil {
			return err
		}
		secret := ""
		if s.Mails.Sends() {
			secret = rand.Text()
			i.TokenHash = token.Hash(secret)
		}
		if err := s.Store.RenewInvitation(ctx, i.ID, i.TokenHash, s.Now().Add(InvitationLifetime)); err != nil {
			return err
		}
		if err := s.mail(ctx, i, secret); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.MemberInvite, map[string]any{"userId": userID, "email": m.Email, "again": true})
	})
}

// Invitations returns the teams that wait for the actor's answer.
func (s *Service) Invitations(ctx context.Context) ([]Team, error) {
	who, err := authz.RequireSelf(ctx, authz.SelfRead)
	if err != nil {
		return nil, err
	}
	return s.Store.ListInvitingTeams(ctx, who.ID, s.Now())
}

// Accept makes the actor a member of a team that invited it. The token is
// needed by who registered without it, and "" for everybody else. Who declined
// may still accept. Errors: NotFound; Precondition once it has expired.
func (s *Service) Accept(ctx context.Context, teamID uuid.UUID, presented string) error {
	return s.answer(ctx, authz.InvitationAccept, teamID, presented, func(ctx context.Context, who actor.Actor, i Invitation) error {
		if !s.Now().Before(i.ExpiresAt) {
			return apperr.New(apperr.Precondition, "the invitation has expired; ask the team to invite you again").WithField("teamId", teamID)
		}
		if err := s.Store.DeleteInvitation(ctx, i.ID); err != nil {
			return err
		}
		return s.Store.InsertMember(ctx, teamID, who.ID, actor.Member, s.Now())
	})
}

// Decline says no to an invitation. Errors: NotFound.
func (s *Service) Decline(ctx context.Context, teamID uuid.UUID) error {
	return s.answer(ctx, authz.InvitationDecline, teamID, "", func(ctx context.Context, _ actor.Actor, i Invitation) error {
		return s.Store.DeclineInvitation(ctx, i.ID)
	})
}

func (s *Service) answer(ctx context.Context, action authz.Action, teamID uuid.UUID, presented string,
	act func(ctx context.Context, who actor.Actor, i Invitation) error,
) error {
	who, err := authz.RequireSelf(ctx, action)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		i, err := s.invitationFor(ctx, who, teamID, presented)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.NotFound, "no such invitation").WithField("teamId", teamID)
		}
		if err != nil {
			return err
		}
		if err := act(ctx, who, i); err != nil {
			return err
		}
		return s.Audit.Record(actor.WithTeam(ctx, actor.Team{ID: teamID}), action, map[string]any{"userId": who.ID, "email": who.Email})
	})
}

// invitationFor locks the team and finds its invitation of the actor.
func (s *Service) invitationFor(ctx context.Context, who actor.Actor, teamID uuid.UUID, presented string) (Invitation, error) {
	if err := s.Store.LockTeam(ctx, teamID); err != nil {
		return Invitation{}, err
	}
	if presented == "" {
		i, err := s.Store.FindInvitation(ctx, teamID, who.ID)
		if err == nil && i.UserID != who.ID {
			return Invitation{}, apperr.New(apperr.NotFound, "no such invitation")
		}
		return i, err
	}
	if len(presented) > maxTokenLength {
		return Invitation{}, apperr.New(apperr.NotFound, "no such invitation")
	}
	i, err := s.Store.FindInvitationByToken(ctx, teamID, token.Hash(presented))
	if err == nil && (i.Email != who.Email || i.UserID != uuid.Nil && i.UserID != who.ID) {
		return Invitation{}, apperr.New(apperr.NotFound, "no such invitation")
	}
	return i, err
}
