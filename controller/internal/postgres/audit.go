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
	row := auditRow{
		TeamID: orNull(e.TeamID), ActorType: string(e.Actor.Kind), ActorID: orNull(e.Actor.ID),
		ActorName: e.Actor.Name, Method: e.Actor.Method, Event: string(e.Event), Data: string(data), CreatedAt: e.At,
	}
	return mapError(db.in(ctx).Create(&row).Error, "write the audit log")
}
