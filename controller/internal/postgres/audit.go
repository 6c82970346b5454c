package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
)

type auditRow struct {
	ID        int64 `gorm:"->"`
	TeamID    *uuid.UUID
	ActorType string
	ActorID   *uuid.UUID
	ActorName string
	Method    string
	Event     string
	Data      string
	CreatedAt time.Time
}

func (auditRow) TableName() string { return "audit_log" }

// AppendAudit adds a row to the audit log.
func (db *DB) AppendAudit(ctx context.Context, e audit.Entry) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("encode audit data: %w", err)
	}
	_, err = db.execRows(ctx, "write the audit log", `insert into audit_log (team_id, actor_type, actor_id, actor_name, method, event, data, created_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		(*[16]byte)(orNull(e.TeamID)), string(e.Actor.Kind), (*[16]byte)(orNull(e.Actor.ID)), e.Actor.Name, e.Actor.Method, string(e.Event), string(data), e.At)
	return err
}
