package teamapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/idempotency"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// repeats is what an Idempotency-Key does to a route.
type repeats int

const (
	// harmless: nothing; the header is ignored.
	harmless repeats = iota
	// once: the request takes effect once for each key.
	once
	// never: the answer has a secret that is shown once, so that it can't be
	// given again; a key is refused.
	never
)

const (
	keyHeader      = idempotency.Field
	replayedHeader = "Idempotency-Replayed"
	// keyReadTimeout is what the client may take to send its body, and
	// keyEndTimeout what keeping the answer may take.
	keyReadTimeout = 5 * time.Second
	keyEndTimeout  = 5 * time.Second
	// keyRetryAfter is when to come back for an answer, keyForgetAfter for who
	// used up its keys.
	keyRetryAfter  = time.Second
	keyForgetAfter = time.Hour
)

// takeKeys prepares an operation for what an Idempotency-Key does to it.
func (a *api) takeKeys(op *huma.Operation, r route) {
	switch r.repeats {
	case harmless:
	case never:
		op.Middlewares = append(op.Middlewares, a.refuseKey)
		op.Description = "Takes no `" + keyHeader + "`: the answer has a secret that is shown once. One that is sent is refused with 400."
	case once:
		op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) { a.once(r.action, ctx, next) })
		op.Errors = append(op.Errors, http.StatusConflict, http.StatusTooManyRequests)
		longest := idempotency.MaxKeyLength + len(`""`)
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: keyHeader, In: "header", Example: "8e03978e-40d5-43dd-bc93-6894a57f9324",
			Description: "Makes it safe to send the request again: with the same key it takes effect once, and is answered the same for 24 hours",
			Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: &longest},
		})
	}
}

// describeReplays documents the header of answers that are given again.
func describeReplays(op *huma.Operation) {
	for status, response := range op.Responses {
		if !strings.HasPrefix(status, "2") {
			continue
		}
		if response.Headers == nil {
			response.Headers = map[string]*huma.Param{}
		}
		response.Headers[replayedHeader] = &huma.Header{
			Description: "true when this is the answer to an earlier request with the same " + keyHeader,
			Schema:      &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}},
		}
	}
}

// refuseKey keeps clients from believing that a secret is made once.
func (a *api) refuseKey(ctx huma.Context, next func(huma.Context)) {
	if ctx.Header(keyHeader) == "" {
		next(ctx)
		return
	}
	a.fail(ctx, apperr.InvalidField(keyHeader, nil, "is not taken here: the answer has a secret, which is shown once and can't be given again"))
}

// once lets a request with a key take effect once.
func (a *api) once(action authz.Action, ctx huma.Context, next func(huma.Context)) {
	key := ctx.Header(keyHeader)
	// Who may not do this is told so by the service, and is given no answer of
	// the time when they might.
	if key == "" || !mayRepeat(ctx, action) {
		next(ctx)
		return
	}
	body, err := readBody(ctx)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	capture := &capturingContext{outerContext: ctx, body: body}
	if len(body) > MaxBodyBytes {
		next(capture) // is told so there, before anything is done
		capture.release()
		return
	}
	claim, given, err := a.deps.Idempotency.Begin(ctx.Context(), key, fingerprint(ctx, body))
	if err != nil {
		a.failKey(ctx, err)
		return
	}
	if given != nil {
		ctx.SetHeader(replayedHeader, "true")
		(&capturingContext{outerContext: ctx, answer: *given}).release()
		return
	}
	defer a.end(ctx.Context(), claim, capture) // also when the handler panics
	next(huma.WithContext(capture, idempotency.With(ctx.Context(), claim)))
}

// end keeps the answer and gives it, in this order: who got an answer gets it
// again.
func (a *api) end(ctx context.Context, claim idempotency.Claim, capture *capturingContext) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyEndTimeout)
	defer cancel()
	answer := capture.answer
	if answer.Status == 0 { // the handler panicked
		answer.Status = http.StatusInternalServerError
	}
	if err := a.deps.Idempotency.End(ctx, claim, answer); err != nil {
		a.log.Warn("could not keep the answer to a request with an idempotency key", logging.KeyError, err)
	}
	if capture.answer.Status != 0 {
		capture.release()
	}
}

// failKey answers why a key is not taken, and when to try again.
func (a *api) failKey(ctx huma.Context, err error) {
	var known *apperr.Error
	switch {
	case !errors.As(err, &known):
	case known.Reason == idempotency.ReasonInUse:
		err = known.WithAfter(keyRetryAfter)
	case known.Kind == apperr.TooMany:
		err = known.WithAfter(keyForgetAfter)
	}
	a.fail(ctx, err)
}

// mayRepeat reports whether the caller may do now what the route does.
func mayRepeat(ctx huma.Context, action authz.Action) bool {
	var err error
	if ctx.Param("teamSlug") == "" {
		_, err = authz.RequireSelf(ctx.Context(), action)
	} else {
		deployment, _ := uuid.Parse(ctx.Param("deploymentId"))
		_, _, err = authz.RequireOn(ctx.Context(), action, deployment)
	}
	return err == nil
}

func readBody(ctx huma.Context) ([]byte, error) {
	if ctx.BodyReader() == nil {
		return nil, nil
	}
	// A test's recorder has no deadlines.
	_ = ctx.SetReadDeadline(time.Now().Add(keyReadTimeout))
	body, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), MaxBodyBytes+1))
	if err != nil {
		// The deadline stays: the server reads what is left of the body before it
		// answers.
		return nil, apperr.Wrap(apperr.Invalid, err, "the body did not come in whole and in time")
	}
	_ = ctx.SetReadDeadline(time.Time{})
	return body, nil
}

// fingerprint is all that makes a request the same one: what is asked for, of
// what, and how the answer shall look.
func fingerprint(ctx huma.Context, body []byte) string {
	url := ctx.URL()
	return fmt.Sprintf("%q %q %q %q %q", ctx.Method(), url.EscapedPath(), url.RawQuery, ctx.Header("Content-Type"), body)
}

// outerContext can be embedded, which huma.Context, for its method of the same
// name, can't.
type outerContext huma.Context

// capturingContext holds an answer back, and gives the body that was read.
type capturingContext struct {
	outerContext
	body   []byte
	answer idempotency.Answer
}

// Unwrap lets huma's adapters find what they wrapped.
func (c *capturingContext) Unwrap() huma.Context { return c.outerContext }

// BodyReader returns the body that was read before.
func (c *capturingContext) BodyReader() io.Reader { return bytes.NewReader(c.body) }

// BodyWriter keeps the answer's body.
func (c *capturingContext) BodyWriter() io.Writer { return bodyOf{c} }

// SetStatus keeps the answer's status.
func (c *capturingContext) SetStatus(status int) { c.answer.Status = status }

// Status returns the answer's status.
func (c *capturingContext) Status() int { return c.answer.Status }

// SetHeader keeps a header of the answer.
func (c *capturingContext) SetHeader(name, value string) {
	c.headers()[http.CanonicalHeaderKey(name)] = []string{value}
}

// AppendHeader keeps a header of the answer beside others of its name.
func (c *capturingContext) AppendHeader(name, value string) {
	name = http.CanonicalHeaderKey(name)
	c.headers()[name] = append(c.headers()[name], value)
}

func (c *capturingContext) headers() map[string][]string {
	if c.answer.Headers == nil {
		c.answer.Headers = map[string][]string{}
	}
	return c.answer.Headers
}

// release gives the answer to the client.
func (c *capturingContext) release() {
	for name, values := range c.answer.Headers {
		for _, value := range values {
			c.outerContext.AppendHeader(name, value)
		}
	}
	c.outerContext.SetStatus(c.answer.Status)
	if len(c.answer.Body) == 0 {
		return // 204 may have none, not even an empty one
	}
	// The client may be gone; there is nobody else to tell.
	_, _ = c.outerContext.BodyWriter().Write(c.answer.Body)
}

type bodyOf struct{ c *capturingContext }

// Write adds to the answer's body.
func (b bodyOf) Write(p []byte) (int, error) {
	b.c.answer.Body = append(b.c.answer.Body, p...)
	return len(p), nil
}
