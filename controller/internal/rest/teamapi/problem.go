package teamapi

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/shared/apperr"
)

// Problem is the body of every error answer: RFC 9457 problem details with the
// members that clients of the team API read.
type Problem struct {
	Type   string `json:"type" example:"about:blank" doc:"Always about:blank: the status says what kind of problem it is"`
	Title  string `json:"title" example:"Not Found"`
	Status int    `json:"status" example:"404"`
	Detail string `json:"detail,omitempty" doc:"What was attempted and what can be done"`
	// Errors has every field at fault when there are several.
	Errors []Fault `json:"errors,omitempty"`

	Message  string `json:"message" doc:"Same as detail"`
	Property string `json:"property,omitempty" doc:"The field at fault, e.g. config.ports[0].internal"`
	Pointer  string `json:"pointer,omitempty" doc:"The same as a JSON pointer into the request's body (RFC 6901), e.g. /config/ports/0/internal; not there for what is no part of the body"`
	Value    any    `json:"value,omitempty" doc:"What the field held, or the id it collides with"`
	Reason   string `json:"error,omitempty" doc:"A stable word for programs"`

	// after is when to try again, for the header; 0 for no word of it.
	after time.Duration
}

// Fault is one field at fault.
type Fault struct {
	Property string `json:"property"`
	Pointer  string `json:"pointer,omitempty" doc:"JSON pointer into the request's body (RFC 6901)"`
	Message  string `json:"message"`
	Value    any    `json:"value,omitempty"`
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// GetStatus returns the HTTP status; huma asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that go with the problem; huma asks for them.
func (p *Problem) GetHeaders() http.Header {
	header := http.Header{}
	if p.after > 0 {
		header.Set(retryAfter, strconv.Itoa(int(math.Ceil(p.after.Seconds()))))
	}
	return header
}

// ContentType names the media type; huma asks for it.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

const (
	retryAfter = "Retry-After"
	// laterUnknown is what is said where nobody knows when there will be room.
	laterUnknown = 10 * time.Second
)

// statusOf maps kinds of errors to HTTP, once for the whole team API.
func statusOf(kind apperr.Kind) int {
	switch kind {
	case apperr.Invalid:
		return http.StatusBadRequest
	case apperr.Unauthenticated:
		return http.StatusUnauthorized
	case apperr.Forbidden:
		return http.StatusForbidden
	case apperr.NotFound:
		return http.StatusNotFound
	case apperr.Conflict:
		return http.StatusConflict
	case apperr.Precondition:
		return http.StatusPreconditionFailed
	case apperr.Unavailable:
		return http.StatusServiceUnavailable
	case apperr.Unsupported:
		return http.StatusNotImplemented
	case apperr.TooMany:
		return http.StatusTooManyRequests
	default:
		return http.StatusInternalServerError
	}
}

// problemOf turns an error of the domain into an answer. What is our own fault
// is logged here, once, and not shown.
func problemOf(log *slog.Logger, err error) *Problem {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	var e *apperr.Error
	if errors.Is(err, context.Canceled) {
		// Whoever asked is gone, or we are stopping: nobody's fault.
		return newProblem(http.StatusServiceUnavailable, "the request was given up before it was done")
	}
	if !errors.As(err, &e) || e.Kind == apperr.Internal {
		log.Error("request failed", "error", err)
		return newProblem(http.StatusInternalServerError, "something went wrong on our side; the controller's log says more")
	}
	if e.Kind == apperr.Unavailable {
		log.Warn("request refused for now", "error", err)
	}
	p := newProblem(statusOf(e.Kind), e.Message)
	p.Property, p.Value, p.Reason, p.after = e.Field, e.Value, e.Reason, e.After
	if e.Kind == apperr.TooMany && p.after <= 0 {
		p.after = laterUnknown
	}
	if e.Field != "" && e.Kind == apperr.Invalid {
		p.Errors = append(p.Errors, Fault{Property: e.Field, Message: e.Message, Value: e.Value})
		for _, other := range faults(e.Err) {
			p.Errors = append(p.Errors, Fault{Property: other.Field, Message: other.Message, Value: other.Value})
		}
	}
	return p
}

// faults unfolds a joined list of field errors.
func faults(err error) []*apperr.Error {
	var found []*apperr.Error
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range list.Unwrap() {
			var e *apperr.Error
			if errors.As(one, &e) {
				found = append(found, e)
			}
		}
	}
	return found
}

func newProblem(status int, message string) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: message, Message: message,
	}
}

// humaProblem is how huma's own findings (bodies that don't parse or don't fit
// their schema) become problems. Its 422 is this API's 400.
func humaProblem(status int, message string, errs ...error) huma.StatusError {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	p := newProblem(status, message)
	for _, err := range errs {
		if err == nil {
			continue
		}
		fault := Fault{Message: err.Error()}
		if d, ok := err.(huma.ErrorDetailer); ok {
			detail := d.ErrorDetail()
			fault = Fault{Property: property(detail.Location), Message: detail.Message}
			if missing, ok := missingProperty(detail.Message); ok {
				fault.Property = strings.TrimPrefix(fault.Property+"."+missing, ".")
				fault.Message = "is missing"
			}
			if strings.HasPrefix(detail.Location, "body") {
				fault.Pointer = pointerTo(fault.Property)
			}
			if showable(fault.Property) {
				fault.Value = short(detail.Value)
			}
		}
		p.Errors = append(p.Errors, fault)
	}
	if len(p.Errors) > 0 {
		first := p.Errors[0]
		p.Property, p.Pointer, p.Value = first.Property, first.Pointer, first.Value
		if first.Message != "" {
			p.Message = strings.TrimPrefix(first.Property+": "+first.Message, ": ")
			p.Detail = p.Message
		}
	}
	return p
}

// property turns huma's location, e.g. "body.name", into the API's word.
func property(location string) string {
	for _, part := range []string{"body", "path", "query", "header"} {
		if location == part {
			return ""
		}
		if rest, ok := strings.CutPrefix(location, part+"."); ok {
			return rest
		}
		if strings.HasPrefix(location, part+"[") { // the body is a list
			return strings.TrimPrefix(location, part)
		}
	}
	return location
}

// missingProperty reads which property huma misses: it names the object that
// lacks it as the place, and the property in its message only.
func missingProperty(message string) (string, bool) {
	rest, ok := strings.CutPrefix(message, "expected required property ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, " to be present")
}

// showable reports whether a field's value may be echoed: not a whole body's,
// and not one that is named like a secret.
func showable(property string) bool {
	if property == "" {
		return false
	}
	name := strings.ToLower(property)
	for _, secret := range []string{"password", "token", "secret", "key"} {
		if strings.Contains(name, secret) {
			return false
		}
	}
	return true
}

// short leaves out values too long to be echoed, and whole objects, which may
// hold secrets.
func short(value any) any {
	switch v := value.(type) {
	case string:
		if len(v) <= 200 {
			return v
		}
	case bool, float64, int, int64:
		return v
	}
	return nil
}
