package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/team"
)

type teamRow struct {
	ID        uuid.UUID
	Name      string
	Slug      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (teamRow) TableName() string { return "teams" }

type teamMemberRow struct {
	TeamID   uuid.UUID
	UserID   uuid.UUID
	Role     string
	JoinedAt time.Time
}

func (teamMemberRow) TableName() string { return "team_members" }

// membershipRow is a team with its counts and the role of one member.
type membershipRow struct {
	Team        teamRow `gorm:"embedded"`
	Role        string
	Users       int
	Projects    int
	Nodes       int
	Versions    int
	Deployments int
}

func (r membershipRow) toMembership() team.Membership {
	return team.Membership{
		Role: actor.Role(r.Role),
		Team: team.Team{
			ID: r.Team.ID, Name: r.Team.Name, Slug: r.Team.Slug, CreatedAt: r.Team.CreatedAt, UpdatedAt: r.Team.UpdatedAt,
			Statistics: team.Statistics{
				Users: r.Users, Projects: r.Projects, Nodes: r.Nodes, Versions: r.Versions, Deployments: r.Deployments,
			},
		},
	}
}

// InsertTeam adds a team and its owner.
func (db *DB) InsertTeam(ctx context.Context, t team.Team, owner uuid.UUID) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		row := teamRow{ID: t.ID, Name: t.Name, Slug: t.Slug, CreatedAt: t.CreatedAt, UpdatedAt: t.CreatedAt}
		if err := db.in(ctx).Create(&row).Error; err != nil {
			return mapError(err, "make the team")
		}
		member := teamMemberRow{TeamID: t.ID, UserID: owner, Role: string(actor.Owner), JoinedAt: t.CreatedAt}
		return mapError(db.in(ctx).Create(&member).Error, "make the team's owner")
	})
}

// UpdateTeam renames a team.
func (db *DB) UpdateTeam(ctx context.Context, id uuid.UUID, name, slug string, at time.Time) error {
	err := db.in(ctx).Model(&teamRow{}).Where("id = ?", id).
		UpdateColumns(map[string]any{"name": name, "slug": slug, "updated_at": at}).Error
	return mapError(err, "rename the team")
}

// DeleteTeam removes a team and all it has.
func (db *DB) DeleteTeam(ctx context.Context, id uuid.UUID) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		// What refers to registries and nodes goes before they do: their
		// removal with the team would be refused.
		for _, what := range []string{"deployments", "projects", "teams"} {
			column := "team_id"
			if what == "teams" {
				column = "id"
			}
			if err := db.in(ctx).Exec("delete from "+what+" where "+column+" = ?", id).Error; err != nil {
				return mapError(err, "delete the team")
			}
		}
		return nil
	})
}

// FindMembership finds a team by slug among a user's own.
func (db *DB) FindMembership(ctx context.Context, userID uuid.UUID, slug string) (team.Membership, error) {
	var row membershipRow
	// The hot path of every request: no counts.
	err := db.in(ctx).Table("teams").Select("teams.*, team_members.role").
		Joins("join team_members on team_members.team_id = teams.id").
		Where("team_members.user_id = ? and teams.slug = ?", userID, slug).Take(&row).Error
	return row.toMembership(), mapError(err, "find the team")
}

// FindMembershipByID finds a team by id among a user's own.
func (db *DB) FindMembershipByID(ctx context.Context, userID, teamID uuid.UUID) (team.Membership, error) {
	var row membershipRow
	err := db.memberships(ctx, userID).Where("teams.id = ?", teamID).Take(&row).Error
	return row.toMembership(), mapError(err, "find the team")
}

// ListMemberships returns a user's teams by name.
func (db *DB) ListMemberships(ctx context.Context, userID uuid.UUID) ([]team.Membership, error) {
	var rows []membershipRow
	err := paged(ctx, db.memberships(ctx, userID).Order("teams.name")).Find(&rows).Error
	return convert(rows, membershipRow.toMembership), mapError(err, "list the teams")
}

func (db *DB) memberships(ctx context.Context, userID uuid.UUID) *gorm.DB {
	return db.in(ctx).Table("teams").Select(`teams.*, team_members.role,
			(select count(*) from team_members m where m.team_id = teams.id) as users,
			(select count(*) from projects p where p.team_id = teams.id) as projects,
			(select count(*) from nodes n where n.team_id = teams.id) as nodes,
			(select count(*) from versions v join projects p on p.id = v.project_id where p.team_id = teams.id) as versions,
			(select count(*) from deployments d where d.team_id = teams.id) as deployments`).
		Joins("join team_members on team_members.team_id = teams.id").
		Where("team_members.user_id = ?", userID)
}
