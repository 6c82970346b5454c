package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

type commandRow struct {
	ID         uuid.UUID
	NodeID     uuid.UUID
	Operation  string
	Prefix     string
	Name       string
	Tail       int
	Deadline   time.Time
	CreatedAt  time.Time
	CreatedBy  string
	FinishedAt *time.Time
	Error      string
	ErrorKind  string
	Lines      *string
	EngineID   string
	Generation int64
	Inspection []byte
	// Payload is the order of an update.
	Payload *string
	Spec    *string
	Plan    *string
}

func (commandRow) TableName() string { return "commands" }

// lineJSON is a log line in the column lines.
type lineJSON struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

// InsertCommand adds a command and wakes its node's session.
func (db *DB) InsertCommand(ctx context.Context, c command.Command) error {
	row := commandRow{
		ID: c.ID, NodeID: c.NodeID, Operation: string(c.Operation), Prefix: c.Container.Prefix, Name: c.Container.Name,
		Tail: c.Tail, Deadline: c.Deadline, CreatedAt: c.CreatedAt, CreatedBy: c.CreatedBy,
		EngineID: c.EngineID, Generation: int64(c.Generation),
	}
	if c.Update != nil {
		text, err := json.Marshal(updateJSON(*c.Update))
		if err != nil {
			return fmt.Errorf("encode the command: %w", err)
		}
		row.Payload = new(string(text))
	}
	if c.Deployment != nil {
		content, _, err := encodeSpec(*c.Deployment)
		if err != nil {
			return err
		}
		row.Spec = &content
	}
	if err := db.in(ctx).Create(&row).Error; err != nil {
		return mapError(err, "store the command")
	}
	return db.notify(ctx, ChannelNode, c.NodeID.String())
}

// ListPendingCommands returns a node's unfinished commands, oldest first.
func (db *DB) ListPendingCommands(ctx context.Context, nodeID uuid.UUID, now time.Time) ([]command.Command, error) {
	var rows []commandRow
	err := db.in(ctx).Where("node_id = ? and finished_at is null and deadline > ?", nodeID, now).Order("created_at, id").Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the node's commands")
	}
	return decodeRows(rows, func(r commandRow) (command.Command, error) {
		c := command.Command{
			Update: orderIn(r.Payload),
			ID:     r.ID, NodeID: r.NodeID, Operation: command.Operation(r.Operation),
			Container: workload.ContainerID{Prefix: r.Prefix, Name: r.Name}, Tail: r.Tail,
			Precondition: command.Precondition{EngineID: r.EngineID, Generation: toGeneration(r.Generation)},
			Deadline:     r.Deadline, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
		}
		if r.Spec != nil {
			d, err := decodeSpec(*r.Spec)
			if err != nil {
				return c, fmt.Errorf("read command %s: %w", r.ID, err)
			}
			c.Deployment = &d
		}
		return c, nil
	})
}

// FinishCommand keeps the first result of a command of the node.
func (db *DB) FinishCommand(ctx context.Context, nodeID uuid.UUID, r command.Result, now time.Time) error {
	lines, err := json.Marshal(convert(r.Lines, func(l workload.LogLine) lineJSON { return lineJSON(l) }))
	if err != nil {
		return fmt.Errorf("encode log lines: %w", err)
	}
	plan, err := encodePlan(r.Plan)
	if err != nil {
		return err
	}
	message, kind := "", ""
	if r.Err != nil {
		message, kind = r.Err.Error(), apperr.KindOf(r.Err).String()
		var known *apperr.Error
		if errors.As(r.Err, &known) {
			message = known.Message
		}
	}
	return db.InTx(ctx, func(ctx context.Context) error {
		result := db.in(ctx).Model(&commandRow{}).Where("id = ? and node_id = ? and finished_at is null", r.ID, nodeID).
			UpdateColumns(map[string]any{"finished_at": now, "error": message, "error_kind": kind, "lines": string(lines), "inspection": r.Inspection,
				"plan": plan})
		if result.Error != nil || result.RowsAffected == 0 {
			return mapError(result.Error, "keep the command's result")
		}
		return db.notify(ctx, ChannelCommand, r.ID.String())
	})
}

// FindResult returns a finished command's result.
func (db *DB) FindResult(ctx context.Context, id uuid.UUID) (command.Result, error) {
	var row commandRow
	if err := db.in(ctx).Where("id = ? and finished_at is not null", id).Take(&row).Error; err != nil {
		return command.Result{}, mapError(err, "find the command's result")
	}
	plan, err := decodePlan(row.Plan)
	if err != nil {
		return command.Result{}, err
	}
	r := command.Result{ID: row.ID, Inspection: row.Inspection, Plan: plan}
	if row.Error != "" {
		r.Err = apperr.New(kindNamed(row.ErrorKind), "%s", row.Error)
	}
	var lines []lineJSON
	if row.Lines != nil {
		if err := json.Unmarshal([]byte(*row.Lines), &lines); err != nil {
			return command.Result{}, fmt.Errorf("decode log lines: %w", err)
		}
	}
	r.Lines = convert(lines, func(l lineJSON) workload.LogLine { return workload.LogLine(l) })
	return r, nil
}

// NodeCapabilities returns what the node's agent announced that it can.
func (db *DB) NodeCapabilities(ctx context.Context, nodeID uuid.UUID) ([]string, error) {
	var row struct{ Capabilities string }
	err := db.in(ctx).Table("agents").Select("capabilities").Where("node_id = ? and revoked_at is null", nodeID).Take(&row).Error
	return strings.Fields(row.Capabilities), mapError(err, "find the node's agent")
}

// DeleteCommandsBefore drops commands whose deadline was before a moment.
func (db *DB) DeleteCommandsBefore(ctx context.Context, deadline time.Time) error {
	return mapError(db.in(ctx).Where("deadline < ?", deadline).Delete(&commandRow{}).Error, "drop old commands")
}

func kindNamed(name string) apperr.Kind {
	for _, kind := range apperr.Kinds() {
		if kind.String() == name {
			return kind
		}
	}
	return apperr.Internal
}
