package postgres

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/page"
)

// auditView is a row of the audit log with its user's address.
type auditView struct {
	Row   auditRow `gorm:"embedded"`
	Email string
}

// ListAudit returns a page of a team's audit log, newest first, and how many
// rows fit, see page.Counted.
func (db *DB) ListAudit(ctx context.Context, teamID uuid.UUID, q audit.Query) ([]audit.Record, int, error) {
	matching := func() *gorm.DB {
		tx := db.in(ctx).Table("audit_log").Joins("left join users on users.id = audit_log.actor_id").
			Where("audit_log.team_id = ? and audit_log.created_at between ? and ?", teamID, q.From, q.To)
		if q.Filter != "" {
			part := "%" + escapeLike(q.Filter) + "%"
			tx = tx.Where("audit_log.event ilike ? or audit_log.actor_name ilike ? or users.email ilike ?", part, part, part)
		}
		return narrowAudit(tx, q)
	}
	total, err := db.countSome(ctx, matching(), page.Page{Skip: q.Skip, Take: q.Take})
	if err != nil {
		return nil, 0, mapError(err, "count the audit log")
	}
	// What is passed over is found by the index alone, in which the id is too.
	const newest = "audit_log.created_at desc, audit_log.id desc"
	part := matching().Select("audit_log.id").Order(newest).Offset(q.Skip).Limit(q.Take)
	var rows []auditView
	err = db.in(ctx).Table("audit_log").Joins("left join users on users.id = audit_log.actor_id").
		Select("audit_log.*, coalesce(users.email, '') as email").Where("audit_log.id in (?)", part).Order(newest).Find(&rows).Error
	return convert(rows, func(r auditView) audit.Record {
		return audit.Record{
			ActorKind: actor.Kind(r.Row.ActorType), ActorID: orZero(r.Row.ActorID), Email: r.Email, ActorName: r.Row.ActorName,
			Method: r.Row.Method, Event: authz.Action(r.Row.Event), Data: r.Row.Data, At: r.Row.CreatedAt,
		}
	}), total, mapError(err, "list the audit log")
}

// narrowAudit adds what a query says beyond its times and its text.
func narrowAudit(tx *gorm.DB, q audit.Query) *gorm.DB {
	if q.ActorKind != "" {
		tx = tx.Where("audit_log.actor_type = ?", string(q.ActorKind))
	}
	if q.ActorID != uuid.Nil {
		tx = tx.Where("audit_log.actor_id = ?", q.ActorID)
	}
	if q.Method != "" {
		tx = tx.Where("audit_log.method = ?", q.Method)
	}
	switch {
	case q.Event == "":
	case strings.Contains(q.Event, "."):
		tx = tx.Where("audit_log.event = ?", q.Event)
	default:
		tx = tx.Where("audit_log.event like ?", escapeLike(q.Event)+".%")
	}
	if q.Entity != uuid.Nil { // ids are under several keys, and in lists
		tx = tx.Where("jsonb_path_exists(audit_log.data, ?::jsonpath, jsonb_build_object('id', ?::text))", "$.** ? (@ == $id)", q.Entity.String())
	}
	return tx
}

// escapeLike makes text stand for itself in a pattern.
func escapeLike(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}
