package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/team"
)

type invitationRow struct {
	ID        uuid.UUID
	TeamID    uuid.UUID
	UserID    *uuid.UUID
	Email     string
	Name      string
	TokenHash []byte
	Declined  bool
	ExpiresAt time.Time
	CreatedAt time.Time
	CreatedBy string
}

func (invitationRow) TableName() string { return "invitations" }

// invitationView is an invitation with what shows of the account it is for.
type invitationView struct {
	Invitation  invitationRow `gorm:"embedded"`
	LastLoginAt *time.Time
	// MailAt is null when there was no e-mail.
	MailAt       *time.Time
	MailFinished bool
	MailError    string
}

func (r invitationView) toInvitation() team.Invitation {
	i := r.Invitation
	return team.Invitation{
		Mail: r.mail(),
		ID:   i.ID, TeamID: i.TeamID, UserID: orZero(i.UserID), Email: i.Email, Name: i.Name, TokenHash: i.TokenHash,
		Declined: i.Declined, ExpiresAt: i.ExpiresAt, CreatedAt: i.CreatedAt, CreatedBy: i.CreatedBy,
		LastLogin: orZero(r.LastLoginAt),
	}
}

func (r invitationView) mail() team.InvitationMail {
	m := team.InvitationMail{Status: team.MailWaiting, Error: r.MailError, At: orZero(r.MailAt)}
	switch {
	case r.MailAt == nil:
		return team.InvitationMail{}
	case r.MailFinished && r.MailError != "":
		m.Status = team.MailFailed
	case r.MailFinished:
		m.Status = team.MailSent
	}
	return m
}

func (db *DB) invitations(ctx context.Context, teamID uuid.UUID) *gorm.DB {
	return db.in(ctx).Table("invitations").Select(`invitations.*, users.last_login_at,
			coalesce(m.finished_at, m.created_at) as mail_at, coalesce(m.finished_at is not null, false) as mail_finished, coalesce(m.error, '') as mail_error`).
		Joins("left join lateral (select * from mails where invitation_id = invitations.id order by id desc limit 1) m on true").
		Joins("left join users on users.id = invitations.user_id").
		Where("invitations.team_id = ?", teamID)
}

// InsertInvitation adds an invitation.
func (db *DB) InsertInvitation(ctx context.Context, i team.Invitation) error {
	row := invitationRow{
		ID: i.ID, TeamID: i.TeamID, UserID: orNull(i.UserID), Email: i.Email, Name: i.Name, TokenHash: i.TokenHash,
		Declined: i.Declined, ExpiresAt: i.ExpiresAt, CreatedAt: i.CreatedAt, CreatedBy: i.CreatedBy,
	}
	return mapError(db.in(ctx).Create(&row).Error, "invite the user")
}

func (db *DB) findInvitation(ctx context.Context, teamID uuid.UUID, where string, args ...any) (team.Invitation, error) {
	var row invitationView
	err := db.invitations(ctx, teamID).Where(where, args...).Take(&row).Error
	return row.toInvitation(), mapError(err, "find the invitation")
}

// FindInvitation finds a team's invitation by the id it knows the person by.
func (db *DB) FindInvitation(ctx context.Context, teamID, personID uuid.UUID) (team.Invitation, error) {
	return db.findInvitation(ctx, teamID, "coalesce(invitations.user_id, invitations.id) = ?", personID)
}

// FindInvitationByEmail finds a team's invitation by address, which is lower
// case.
func (db *DB) FindInvitationByEmail(ctx context.Context, teamID uuid.UUID, email string) (team.Invitation, error) {
	return db.findInvitation(ctx, teamID, "invitations.email = ?", email)
}

// FindInvitationByToken finds a team's invitation by its token's hash.
func (db *DB) FindInvitationByToken(ctx context.Context, teamID uuid.UUID, hash []byte) (team.Invitation, error) {
	return db.findInvitation(ctx, teamID, "invitations.token_hash = ?", hash)
}

// FindOpenInvitation locks the pending invitation that is for the address, has
// the token and is no user's yet.
func (db *DB) FindOpenInvitation(ctx context.Context, email string, tokenHash []byte, now time.Time) (uuid.UUID, error) {
	var row invitationRow
	err := db.in(ctx).Raw(`select * from invitations where email = ? and token_hash = ?
		and user_id is null and not declined and expires_at > ? for update`, email, tokenHash, now).Take(&row).Error
	return row.ID, mapError(err, "find the invitation")
}

// BindInvitation makes an invitation a user's to answer.
func (db *DB) BindInvitation(ctx context.Context, id, userID uuid.UUID) error {
	return db.setInvitation(ctx, id, "user_id", userID)
}

// ListInvitations returns a team's invitations by e-mail address.
func (db *DB) ListInvitations(ctx context.Context, teamID uuid.UUID) ([]team.Invitation, error) {
	var rows []invitationView
	err := db.invitations(ctx, teamID).Order("invitations.email").Find(&rows).Error
	return convert(rows, invitationView.toInvitation), mapError(err, "list the team's invitations")
}

// ListInvitingTeams returns the teams whose pending invitations are the user's
// to answer, by name.
func (db *DB) ListInvitingTeams(ctx context.Context, userID uuid.UUID, now time.Time) ([]team.Team, error) {
	var rows []teamRow
	err := db.in(ctx).Table("teams").Select("teams.*").
		Joins("join invitations i on i.team_id = teams.id").
		Where("i.user_id = ? and not i.declined and i.expires_at > ?", userID, now).Order("teams.name").Find(&rows).Error
	return convert(rows, func(r teamRow) team.Team {
		return team.Team{ID: r.ID, Name: r.Name, Slug: r.Slug, CreatedAt: r.CreatedAt}
	}), mapError(err, "list the invitations")
}

// RenewInvitation moves an invitation's end and sets its token's hash.
func (db *DB) RenewInvitation(ctx context.Context, id uuid.UUID, tokenHash []byte, expiresAt time.Time) error {
	err := db.in(ctx).Model(&invitationRow{}).Where("id = ?", id).
		UpdateColumns(map[string]any{"token_hash": tokenHash, "expires_at": expiresAt}).Error
	return mapError(err, "renew the invitation")
}

// DeclineInvitation notes that somebody said no.
func (db *DB) DeclineInvitation(ctx context.Context, id uuid.UUID) error {
	return db.setInvitation(ctx, id, "declined", true)
}

func (db *DB) setInvitation(ctx context.Context, id uuid.UUID, column string, value any) error {
	err := db.in(ctx).Model(&invitationRow{}).Where("id = ?", id).UpdateColumn(column, value).Error
	return mapError(err, "change the invitation")
}

// DeleteInvitation removes an invitation.
func (db *DB) DeleteInvitation(ctx context.Context, id uuid.UUID) error {
	return mapError(db.in(ctx).Where("id = ?", id).Delete(&invitationRow{}).Error, "remove the invitation")
}
