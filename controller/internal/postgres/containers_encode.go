package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"fairlead.dev/shared/workload"
)

// reportedContainers are rows on their way into the table containers, as
// PostgreSQL's binary form of an array of the type reported_container. Thousands
// of them are one argument that is written once: an array for each column took
// PostgreSQL and pgx a third of the time of everything that is done with a
// report. It is the first argument of its statement.
type reportedContainers struct {
	// data is the array; its header is filled in when it is sent.
	data  []byte
	count int
}

// arrayHeader is the length of what precedes the elements: how many dimensions,
// whether there are nulls, the elements' type, and length and first index of the
// one dimension.
const arrayHeader = 5 * 4

// reportedType is the type of one row, in migration 00023.
const reportedType = "reported_container"

// newReportedContainers returns no rows, with room for so many.
func newReportedContainers(count int) *reportedContainers {
	const usual = 448 // bytes of a row
	return &reportedContainers{data: make([]byte, arrayHeader, arrayHeader+count*usual)}
}

func (r *reportedContainers) reset() { r.data, r.count = r.data[:arrayHeader], 0 }

// RewriteQuery makes the rows an argument, for pgx. Which number their type has
// is asked each time: a database that is put back may give it another.
func (r *reportedContainers) RewriteQuery(ctx context.Context, conn *pgx.Conn, statement string, args []any) (string, []any, error) {
	var element, array uint32
	err := conn.QueryRow(ctx, "select oid, typarray from pg_type where oid = to_regtype($1)", reportedType).Scan(&element, &array)
	if err != nil {
		return "", nil, fmt.Errorf("find the type %s: %w", reportedType, err)
	}
	if _, known := conn.TypeMap().TypeForOID(array); !known {
		// It is sent as the bytes that it is.
		conn.TypeMap().RegisterType(&pgtype.Type{Name: reportedType + "[]", OID: array, Codec: pgtype.ByteaCodec{}})
	}
	header := r.data[:0]
	for _, n := range [...]uint32{1, 0, element, uint32(r.count), 1} {
		header = binary.BigEndian.AppendUint32(header, n)
	}
	// With the number in it the statement is another one, and prepared anew, when
	// the type is.
	return fmt.Sprintf("%s /* %d */", statement, array), append([]any{r.data}, args...), nil
}

// add appends a row.
func (r *reportedContainers) add(nodeID uuid.UUID, c *workload.Container) error {
	ports := []byte(noPorts)
	if len(c.Ports) > 0 {
		var err error
		if ports, err = json.Marshal(convert(c.Ports, func(p workload.Port) portJSON { return portJSON(p) })); err != nil {
			return fmt.Errorf("encode ports: %w", err)
		}
	}
	at := len(r.data)
	w := record{data: binary.BigEndian.AppendUint32(r.data, 0)} // its length, filled in below
	w.data = binary.BigEndian.AppendUint32(w.data, reportedColumns)
	w.id(nodeID)
	w.text(c.EngineID)
	w.text(c.ID.Prefix)
	w.text(c.ID.Name)
	w.flag(c.Managed)
	w.optionalID(c.DeploymentID)
	w.optionalID(c.InstanceID)
	w.bigint(c.Release)
	w.text(c.ImageName)
	w.text(c.ImageTag)
	w.text(c.ImageDigest)
	w.text(c.Command)
	w.time(c.CreatedAt)
	w.text(string(c.State))
	w.text(c.Reason)
	w.integer(int32(c.ExitCode))
	w.text(c.Health)
	w.jsonb(ports)
	w.flag(c.Leftover)
	w.flag(c.OOMKilled)
	w.integer(int32(c.RestartCount))
	w.optionalTime(c.StartedAt)
	w.optionalTime(c.FinishedAt)
	binary.BigEndian.PutUint32(w.data[at:], uint32(len(w.data)-at-4)) // a row is far smaller than 4 GiB
	r.data, r.count = w.data, r.count+1
	return nil
}

// reportedColumns is how many columns a row has.
const reportedColumns = 23

// record writes the columns of a composite value: type, length, bytes of each.
type record struct{ data []byte }

func (w *record) head(oid uint32, length int) {
	w.data = binary.BigEndian.AppendUint32(w.data, oid)
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(length)) // texts are bounded where they are taken, see specpb
}

func (w *record) null(oid uint32) {
	w.data = binary.BigEndian.AppendUint32(w.data, oid)
	w.data = append(w.data, 0xff, 0xff, 0xff, 0xff)
}

func (w *record) text(s string) {
	w.head(pgtype.TextOID, len(s))
	w.data = append(w.data, s...)
}

func (w *record) jsonb(text []byte) {
	const version = 1
	w.head(pgtype.JSONBOID, 1+len(text))
	w.data = append(append(w.data, version), text...)
}

func (w *record) flag(yes bool) {
	w.head(pgtype.BoolOID, 1)
	if yes {
		w.data = append(w.data, 1)
	} else {
		w.data = append(w.data, 0)
	}
}

func (w *record) bigint(n int64) {
	w.head(pgtype.Int8OID, 8)
	w.data = binary.BigEndian.AppendUint64(w.data, uint64(n))
}

func (w *record) integer(n int32) {
	w.head(pgtype.Int4OID, 4)
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(n))
}

func (w *record) id(id uuid.UUID) {
	w.head(pgtype.UUIDOID, len(id))
	w.data = append(w.data, id[:]...)
}

// optionalID writes an id that an agent sent; what is none becomes null.
func (w *record) optionalID(text string) {
	if id, err := uuid.Parse(text); err == nil {
		w.id(id)
		return
	}
	w.null(pgtype.UUIDOID)
}

// time writes microseconds since the year 2000.
func (w *record) time(at time.Time) {
	const epoch = 946684800 // 2000-01-01 by Unix's count of seconds
	w.head(pgtype.TimestamptzOID, 8)
	w.data = binary.BigEndian.AppendUint64(w.data, uint64(at.UnixMicro()-epoch*1_000_000))
}

// optionalTime writes a time; zero becomes null.
func (w *record) optionalTime(at time.Time) {
	if at.IsZero() {
		w.null(pgtype.TimestamptzOID)
		return
	}
	w.time(at)
}
