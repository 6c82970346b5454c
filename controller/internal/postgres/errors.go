package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"fairlead.dev/shared/apperr"
)

// mapError turns what the database said into an error of the domain; doing
// says what was attempted ("create the team"). The field at fault comes from
// the name of the constraint, which is <table>_<field>_<uq|fk|ck>. An error
// that has a kind already keeps it, nil stays nil, and what is our own fault
// stays without a kind, which makes it Internal.
//
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func mapError(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	doing = fmt.Sprintf(doing, args...)
	var known *apperr.Error
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, pgx.ErrNoRows), errors.Is(err, sql.ErrNoRows):
		return apperr.Wrap(apperr.NotFound, err, "%s: not found", doing)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err) // nobody is waiting for it
	case isAway(err):
		return apperr.Wrap(apperr.Unavailable, err, "%s: the database does not answer, try again later", doing)
	case errors.As(err, &answer):
		return mapAnswer(answer, err, doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// mapAnswer maps an error the server reported.
func mapAnswer(answer *pgconn.PgError, err error, doing string) error {
	field := fieldOf(answer)
	switch answer.Code {
	case "23505": // unique_violation
		return apperr.Wrap(apperr.Conflict, err, "%s: there is one like this already", doing).WithField(field, nil)
	case "23503", "23001": // foreign_key_violation, restrict_violation
		return apperr.Wrap(apperr.Conflict, err, "%s: what it refers to is gone, or something still refers to it", doing).
			WithField(field, nil)
	case "23514", // check_violation
		"22001", // string_data_right_truncation
		"22003", // numeric_value_out_of_range
		"22007", // invalid_datetime_format
		"22008", // datetime_field_overflow
		"22021", // character_not_in_repertoire: a zero byte, or no UTF-8
		"22P02", // invalid_text_representation
		"22P05": // untranslatable_character
		return apperr.Wrap(apperr.Invalid, err, "%s: a value is not acceptable", doing).WithField(field, nil)
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return apperr.Wrap(apperr.Unavailable, err, "%s: others change the same things, try again", doing)
	case "57014", // query_canceled, by the statement timeout
		"55P03": // lock_not_available
		return apperr.Wrap(apperr.Unavailable, err, "%s: it took too long, try again later", doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isAway reports whether the server could not be reached, went away, or takes
// nobody in for now.
func isAway(err error) bool {
	var refused *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &refused) || errors.As(err, &network) || pgconn.Timeout(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case "57P01", "57P02", "57P03", // admin_shutdown, crash_shutdown, cannot_connect_now
		"25006",                   // read_only_sql_transaction: a standby, during a failover
		"25P03",                   // idle_in_transaction_session_timeout
		"53000", "53100", "53200", // insufficient_resources, disk_full, out_of_memory
		"53300": // too_many_connections
		return true
	}
	return strings.HasPrefix(answer.Code, "08") // connection_exception
}

// violates reports whether err is a violation of the named constraint, for
// callers who can say more about it than mapError.
func violates(err error, constraint string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && strings.HasPrefix(answer.Code, "23") && answer.ConstraintName == constraint
}

// fieldOf reads the field from a constraint name: "name" from teams_name_uq.
// It returns "" for a name of another form and for primary keys.
func fieldOf(answer *pgconn.PgError) string {
	name, ok := strings.CutPrefix(answer.ConstraintName, answer.TableName+"_")
	if !ok {
		return ""
	}
	for _, suffix := range []string{"_uq", "_fk", "_ck"} {
		if field, ok := strings.CutSuffix(name, suffix); ok {
			return field
		}
	}
	return ""
}
