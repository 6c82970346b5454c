// Package apperr gives errors a kind that every edge (HTTP, gRPC, command
// line) can map to its own codes. It names no HTTP or gRPC number and logs
// nothing: an error is logged once, where it is handled.
package apperr

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of thing went wrong, in words of the domain.
type Kind int

const (
	// Internal is a fault of ours; its text is not shown to users.
	Internal Kind = iota
	// Invalid is input that can never succeed as it is.
	Invalid
	// Unauthenticated is a request with no or bad credentials.
	Unauthenticated
	// Forbidden is a known caller without the right to do this.
	Forbidden
	// NotFound is an object that does not exist or not in the caller's team.
	NotFound
	// Conflict is a duplicate: something else holds that name or place.
	Conflict
	// Precondition is an act that the object's present state does not allow.
	Precondition
	// Unavailable is a dependency that is away for now; try again later.
	Unavailable
	// Unsupported is a request that this node or build cannot honour.
	Unsupported
	// TooMany is a caller above its rate limit.
	TooMany
)

// Kinds lists every kind, for tests that demand a total mapping.
func Kinds() []Kind {
	return []Kind{
		Internal, Invalid, Unauthenticated, Forbidden, NotFound,
		Conflict, Precondition, Unavailable, Unsupported, TooMany,
	}
}

// String returns the kind's name in lower case, as used in logs.
func (k Kind) String() string {
	switch k {
	case Internal:
		return "internal"
	case Invalid:
		return "invalid"
	case Unauthenticated:
		return "unauthenticated"
	case Forbidden:
		return "forbidden"
	case NotFound:
		return "not-found"
	case Conflict:
		return "conflict"
	case Precondition:
		return "precondition"
	case Unavailable:
		return "unavailable"
	case Unsupported:
		return "unsupported"
	case TooMany:
		return "too-many"
	default:
		return fmt.Sprintf("kind(%d)", int(k))
	}
}

// Error is an error with a kind and, where one is at fault, the input field
// and the value it had.
type Error struct {
	Kind Kind
	// Message is for the user: what was attempted and what to do.
	Message string
	// Field is the path of the input at fault in the words of the domain,
	// e.g. "name" or "workloads[0].ports[1].external"; empty if none is.
	Field string
	// Value is the offending value or the id it collides with; nil if none,
	// and never a secret.
	Value any
	// Reason is a stable word for programs that act on this very error, e.g.
	// "rollingVersionDeployment"; empty for most.
	Reason string
	// After is how long to wait before another try; 0 where that is not known.
	After time.Duration
	// Err is the cause, for logs; may be nil.
	Err error
}

// Error returns the message, with the field before it and the cause behind.
func (e *Error) Error() string {
	text := e.Message
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind with a formatted message.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of a kind around a cause. The message is for users, the
// cause for logs.
func Wrap(kind Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// InvalidField makes an Invalid error that names the field and its value.
func InvalidField(field string, value any, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Value: value, Message: fmt.Sprintf(format, args...)}
}

// WithField returns a copy that names the field at fault and its value.
func (e *Error) WithField(field string, value any) *Error {
	c := *e
	c.Field, c.Value = field, value
	return &c
}

// WithReason returns a copy with a stable word for programs.
func (e *Error) WithReason(reason string) *Error {
	c := *e
	c.Reason = reason
	return &c
}

// WithAfter returns a copy that says how long to wait before another try.
func (e *Error) WithAfter(wait time.Duration) *Error {
	c := *e
	c.After = wait
	return &c
}

// KindOf returns the kind of the first *Error in err's tree; Internal for any
// other error. It must not be called with nil.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err carries the kind. A nil error carries none.
func Is(err error, kind Kind) bool {
	return err != nil && KindOf(err) == kind
}
