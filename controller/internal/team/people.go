package team

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

// PeopleStore keeps who is in a team and who is invited; it joins the
// transaction in ctx. The Find methods and LockTeam return NotFound errors.
type PeopleStore interface {
	// LockTeam makes those who change a team's people take turns until the
	// transaction ends.
	LockTeam(ctx context.Context, id uuid.UUID) error
	// LockTeamWhole also keeps what the team has as it is, and returns the ids
	// of its nodes.
	LockTeamWhole(ctx context.Context, id uuid.UUID) (nodes []uuid.UUID, err error)
	// CountAssignedPrefixes returns how many prefixes the team's nodes run
	// something under or have yet to empty.
	CountAssignedPrefixes(ctx context.Context, teamID uuid.UUID) (int, error)
	// DismissAgent revokes the agent of a node that is about to be deleted, and
	// keeps on record that this is why.
	DismissAgent(ctx context.Context, nodeID uuid.UUID, removeContainers bool, at time.Time) error

	FindUserByEmail(ctx context.Context, email string) (user.User, error)

	FindMember(ctx context.Context, teamID, userID uuid.UUID) (Member, error)
	InsertMember(ctx context.Context, teamID, userID uuid.UUID, role actor.Role, at time.Time) error
	SetMemberRole(ctx context.Context, teamID, userID uuid.UUID, role actor.Role) error
	DeleteMember(ctx context.Context, teamID, userID uuid.UUID) error
	CountOwners(ctx context.Context, teamID uuid.UUID) (int, error)

	// InsertInvitation returns a Conflict on the e-mail address.
	InsertInvitation(ctx context.Context, i Invitation) error
	// FindInvitation finds by the id the team knows the invited person by,
	// FindInvitationByToken by the hash of a token.
	FindInvitation(ctx context.Context, teamID, personID uuid.UUID) (Invitation, error)
	FindInvitationByEmail(ctx context.Context, teamID uuid.UUID, email string) (Invitation, error)
	FindInvitationByToken(ctx context.Context, teamID uuid.UUID, hash []byte) (Invitation, error)
	ListInvitations(ctx context.Context, teamID uuid.UUID) ([]Invitation, error)
	// ListInvitingTeams returns the teams whose pending invitations the user
	// may answer, by name.
	ListInvitingTeams(ctx context.Context, userID uuid.UUID, now time.Time) ([]Team, error)
	RenewInvitation(ctx context.Context, id uuid.UUID, tokenHash []byte, expiresAt time.Time) error
	DeclineInvitation(ctx context.Context, id uuid.UUID) error
	DeleteInvitation(ctx context.Context, id uuid.UUID) error
}

// SetRole makes a member owner, admin or user. Only an owner makes somebody an
// owner or changes what an owner is; a team may have several, and giving the
// role takes nothing from who gives it. Errors: NotFound, Invalid, Forbidden;
// Precondition for the last owner, and for who has not accepted yet.
func (s *Service) SetRole(ctx context.Context, userID uuid.UUID, role actor.Role) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.MemberUpdate)
		if err != nil {
			return err
		}
		switch role {
		case actor.Owner, actor.Admin, actor.Member:
		default:
			return apperr.InvalidField("role", string(role), "must be %s, %s or %s", actor.Owner, actor.Admin, actor.Member)
		}
		m, err := s.person(ctx, scope.ID, userID)
		switch {
		case err != nil:
			return err
		case m.Status != Verified:
			return apperr.New(apperr.Precondition, "only a member has a role; this invitation is %s", m.Status).WithField("userId", userID)
		case scope.Role != actor.Owner && (role == actor.Owner || m.Role == actor.Owner):
			return apperr.New(apperr.Forbidden, "only an owner of the team may make somebody an owner or change an owner's role")
		case m.Role == role:
			return nil
		case m.Role == actor.Owner:
			if err := s.keepAnOwner(ctx, scope.ID); err != nil {
				return err
			}
		}
		if err := s.Store.SetMemberRole(ctx, scope.ID, userID, role); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.MemberUpdate, map[string]any{"userId": userID, "email": m.Email, "from": m.Role, "role": role})
	})
}

// Remove takes a member out of the team, or an invitation back. Errors:
// NotFound; Forbidden for an owner, unless an owner asks; Precondition for the
// last owner.
func (s *Service) Remove(ctx context.Context, userID uuid.UUID) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.MemberRemove)
		if err != nil {
			return err
		}
		m, err := s.person(ctx, scope.ID, userID)
		if err != nil {
			return err
		}
		if m.Role == actor.Owner && scope.Role != actor.Owner {
			return apperr.New(apperr.Forbidden, "only an owner of the team may remove an owner")
		}
		if m.Status != Verified {
			i, err := s.Store.FindInvitation(ctx, scope.ID, userID)
			if err != nil {
				return err
			}
			if err := s.Store.DeleteInvitation(ctx, i.ID); err != nil {
				return err
			}
		} else if err := s.takeOut(ctx, scope.ID, m); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.MemberRemove, map[string]any{"userId": userID, "email": m.Email, "status": m.Status})
	})
}

// Leave takes the actor out of the team. Precondition for the last owner.
func (s *Service) Leave(ctx context.Context) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.TeamLeave)
		if err != nil {
			return err
		}
		who, err := actor.From(ctx)
		if err != nil {
			return err
		}
		if err := s.takeOut(ctx, scope.ID, Member{UserID: who.ID, Role: scope.Role}); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.TeamLeave, map[string]any{"userId": who.ID, "role": scope.Role})
	})
}

// lock makes changes of a team's people take turns, and then looks up what the
// actor is in the team: it may have been changed while this one waited.
func (s *Service) lock(ctx context.Context, action authz.Action) (actor.Team, error) {
	scope, who, err := authz.Require(ctx, action)
	if err != nil {
		return actor.Team{}, err
	}
	if err := s.Store.LockTeam(ctx, scope.ID); err != nil {
		return actor.Team{}, noSuchTeam(err, scope.ID)
	}
	now, err := s.Store.FindMember(ctx, scope.ID, who.ID)
	if err != nil {
		return actor.Team{}, noSuchTeam(err, scope.ID)
	}
	scope.Role = now.Role
	_, _, err = authz.Require(actor.WithTeam(ctx, scope), action)
	return scope, err
}

// person finds a member, or who is invited.
func (s *Service) person(ctx context.Context, teamID, userID uuid.UUID) (Member, error) {
	m, err := s.Store.FindMember(ctx, teamID, userID)
	if !apperr.Is(err, apperr.NotFound) {
		return m, err
	}
	i, err := s.Store.FindInvitation(ctx, teamID, userID)
	if apperr.Is(err, apperr.NotFound) {
		return Member{}, apperr.New(apperr.NotFound, "no such user in this team").WithField("userId", userID)
	}
	return i.member(s.Now()), err
}

func (s *Service) takeOut(ctx context.Context, teamID uuid.UUID, m Member) error {
	if m.Role == actor.Owner {
		if err := s.keepAnOwner(ctx, teamID); err != nil {
			return err
		}
	}
	return s.Store.DeleteMember(ctx, teamID, m.UserID)
}

// keepAnOwner refuses to take away the last owner.
func (s *Service) keepAnOwner(ctx context.Context, teamID uuid.UUID) error {
	owners, err := s.Store.CountOwners(ctx, teamID)
	if err != nil {
		return err
	}
	if owners < 2 {
		return apperr.New(apperr.Precondition,
			"this is the last owner of the team; make another member an owner first, or delete the team")
	}
	return nil
}

func noSuchTeam(err error, id uuid.UUID) error {
	if apperr.Is(err, apperr.NotFound) {
		return apperr.New(apperr.NotFound, "no such team").WithField("teamId", id)
	}
	return err
}
