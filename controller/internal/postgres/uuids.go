package postgres

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// uuidCodec sends and reads UUIDs as the 16 bytes they are. pgx by itself goes
// by the text of a type that has Value and Scan, as uuid.UUID does: six
// allocations where there need be none.
type uuidCodec struct{ pgtype.UUIDCodec }

// PlanEncode returns how a value is sent.
func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return encodeUUID{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

// PlanScan returns how a target is read.
func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return scanUUID{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

type encodeUUID struct{}

// Encode appends the bytes of a value.
func (encodeUUID) Encode(value any, buf []byte) ([]byte, error) {
	id, _ := value.(uuid.UUID) // PlanEncode has looked
	return append(buf, id[:]...), nil
}

type scanUUID struct{}

// Scan copies the bytes of a value; an error for null and for another length.
func (scanUUID) Scan(src []byte, target any) (err error) {
	id, _ := target.(*uuid.UUID) // PlanScan has looked
	*id, err = uuid.FromBytes(src)
	return err
}
