package team

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// Enter returns a context that carries the team with this slug and the
// actor's role in it. NotFound when there is no such team among the actor's.
func (s *Service) Enter(ctx context.Context, slug string) (context.Context, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.Store.FindMembership(ctx, who.ID, slug)
	if apperr.Is(err, apperr.NotFound) {
		return nil, apperr.New(apperr.NotFound, "no such team").WithField("teamSlug", slug)
	}
	if err != nil {
		return nil, err
	}
	return actor.WithTeam(ctx, actor.Team{ID: m.ID, Slug: m.Slug, Role: m.Role}), nil
}

// EnterByID is Enter for a team's id.
func (s *Service) EnterByID(ctx context.Context, id uuid.UUID) (context.Context, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.Store.FindMembershipByID(ctx, who.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return nil, apperr.New(apperr.NotFound, "no such team").WithField("teamId", id)
	}
	if err != nil {
		return nil, err
	}
	return actor.WithTeam(ctx, actor.Team{ID: m.ID, Slug: m.Slug, Role: m.Role}), nil
}

// List returns the actor's teams.
func (s *Service) List(ctx context.Context) ([]Membership, error) {
	who, err := authz.RequireSelf(ctx, authz.TeamList)
	if err != nil {
		return nil, err
	}
	return s.Store.ListMemberships(ctx, who.ID)
}

// Create makes a team that the actor owns. Errors: Invalid, Conflict on name
// or slug.
func (s *Service) Create(ctx context.Context, name, slug string) (Team, error) {
	who, err := authz.RequireSelf(ctx, authz.TeamCreate)
	if err != nil {
		return Team{}, err
	}
	if name, slug, err = validate(name, slug); err != nil {
		return Team{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Team{}, err
	}
	at := s.Now()
	t := Team{ID: id, Name: name, Slug: slug, CreatedAt: at, UpdatedAt: at, Statistics: Statistics{Users: 1}}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.InsertTeam(ctx, t, who.ID); err != nil {
			return err
		}
		ctx = actor.WithTeam(ctx, actor.Team{ID: id, Slug: slug, Role: actor.Owner})
		if err := s.Audit.Record(ctx, authz.TeamCreate, map[string]any{"id": id, "name": name, "slug": slug}); err != nil {
			return err
		}
		for _, setup := range s.Setups {
			if err := setup.SetUpTeam(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
	return t, err
}

// Get returns the team in ctx and its people: members, then who is invited.
func (s *Service) Get(ctx context.Context) (Team, []Member, error) {
	scope, who, err := authz.Require(ctx, authz.TeamRead)
	if err != nil {
		return Team{}, nil, err
	}
	m, err := s.Store.FindMembershipByID(ctx, who.ID, scope.ID)
	if err != nil {
		return Team{}, nil, err
	}
	members, err := s.Store.ListMembers(ctx, scope.ID)
	if err != nil {
		return Team{}, nil, err
	}
	invited, err := s.Store.ListInvitations(ctx, scope.ID)
	if err != nil {
		return Team{}, nil, err
	}
	for _, i := range invited {
		members = append(members, i.member(s.Now()))
	}
	return m.Team, members, nil
}

// Update renames the team in ctx. Errors: Invalid, Conflict, Forbidden.
func (s *Service) Update(ctx context.Context, name, slug string) error {
	_, who, err := authz.Require(ctx, authz.TeamUpdate)
	if err != nil {
		return err
	}
	if name, slug, err = validate(name, slug); err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.TeamUpdate)
		if err != nil {
			return err
		}
		m, err := s.Store.FindMembershipByID(ctx, who.ID, scope.ID)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, m.UpdatedAt); err != nil {
			return err
		}
		if err := s.Store.UpdateTeam(ctx, scope.ID, name, slug, revision.Next(m.UpdatedAt, s.Now())); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.TeamUpdate, map[string]any{"name": name, "slug": slug})
	})
}
