package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/team"
)

// LockTeam makes those who change a team's people take turns until the
// transaction ends. What refers to the team is not held up.
func (db *DB) LockTeam(ctx context.Context, id uuid.UUID) error {
	var row teamRow
	err := db.in(ctx).Raw("select * from teams where id = ? for no key update", id).Take(&row).Error
	return mapError(err, "lock the team")
}

// LockTeamWhole keeps a team and its nodes as they are until the transaction
// ends, and returns the ids of the nodes.
func (db *DB) LockTeamWhole(ctx context.Context, id uuid.UUID) ([]uuid.UUID, error) {
	var row teamRow
	if err := db.in(ctx).Raw("select * from teams where id = ? for update", id).Take(&row).Error; err != nil {
		return nil, mapError(err, "lock the team")
	}
	var ids []uuid.UUID
	err := db.in(ctx).Raw("select id from nodes where team_id = ? order by id for update", id).Scan(&ids).Error
	return ids, mapError(err, "lock the team's nodes")
}

// CountAssignedPrefixes returns how many prefixes a team's nodes run something
// under or have yet to empty.
func (db *DB) CountAssignedPrefixes(ctx context.Context, teamID uuid.UUID) (int, error) {
	var count int64
	err := db.in(ctx).Table("assignments").Joins("join nodes on nodes.id = assignments.node_id").
		Where("nodes.team_id = ?", teamID).Count(&count).Error
	return int(count), mapError(err, "count what the team's nodes run")
}

// memberRow is a user with the role in one team.
type memberRow struct {
	User userRow `gorm:"embedded"`
	Role string
}

func (r memberRow) toMember() team.Member {
	return team.Member{
		UserID: r.User.ID, Status: team.Verified, Name: r.User.Name, Email: r.User.Email,
		Role: actor.Role(r.Role), LastLogin: orZero(r.User.LastLoginAt),
	}
}

func (db *DB) members(ctx context.Context, teamID uuid.UUID) *gorm.DB {
	return db.in(ctx).Table("users").Select("users.*, team_members.role").
		Joins("join team_members on team_members.user_id = users.id").
		Where("team_members.team_id = ?", teamID)
}

// ListMembers returns a team's members by e-mail address.
func (db *DB) ListMembers(ctx context.Context, teamID uuid.UUID) ([]team.Member, error) {
	var rows []memberRow
	err := db.members(ctx, teamID).Order("users.email").Find(&rows).Error
	return convert(rows, memberRow.toMember), mapError(err, "list the team's members")
}

// FindMember returns a member of a team.
func (db *DB) FindMember(ctx context.Context, teamID, userID uuid.UUID) (team.Member, error) {
	var row memberRow
	err := db.members(ctx, teamID).Where("users.id = ?", userID).Take(&row).Error
	return row.toMember(), mapError(err, "find the member")
}

// InsertMember adds a user to a team.
func (db *DB) InsertMember(ctx context.Context, teamID, userID uuid.UUID, role actor.Role, at time.Time) error {
	row := teamMemberRow{TeamID: teamID, UserID: userID, Role: string(role), JoinedAt: at}
	return mapError(db.in(ctx).Create(&row).Error, "add the member")
}

// SetMemberRole changes what a member is.
func (db *DB) SetMemberRole(ctx context.Context, teamID, userID uuid.UUID, role actor.Role) error {
	err := db.in(ctx).Model(&teamMemberRow{}).Where("team_id = ? and user_id = ?", teamID, userID).
		UpdateColumn("role", string(role)).Error
	return mapError(err, "change the member's role")
}

// DeleteMember takes a user out of a team.
func (db *DB) DeleteMember(ctx context.Context, teamID, userID uuid.UUID) error {
	err := db.in(ctx).Where("team_id = ? and user_id = ?", teamID, userID).Delete(&teamMemberRow{}).Error
	return mapError(err, "remove the member")
}

// CountOwners returns how many owners a team has.
func (db *DB) CountOwners(ctx context.Context, teamID uuid.UUID) (int, error) {
	var count int64
	err := db.in(ctx).Model(&teamMemberRow{}).Where("team_id = ? and role = ?", teamID, string(actor.Owner)).Count(&count).Error
	return int(count), mapError(err, "count the team's owners")
}
