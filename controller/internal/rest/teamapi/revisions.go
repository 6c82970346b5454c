package teamapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// ifMatchHeader names the revision that a client has read
// (https://www.rfc-editor.org/rfc/rfc9110#name-if-match).
const ifMatchHeader = revision.Field

// maxIfMatch bounds the header, in bytes.
const maxIfMatch = 1000

// tagged is the output of an endpoint that answers 200 with the settings of
// something and their revision.
type tagged[T any] struct {
	ETag string `header:"ETag" doc:"The revision, for If-Match: it changes with every change of what the thing itself says, not with what is shown beside it"`
	Body T
}

// respondTagged answers what was changed last at a time.
func respondTagged[T any](body T, changed time.Time) *tagged[T] {
	return &tagged[T]{ETag: `"` + revision.Of(changed) + `"`, Body: body}
}

// takeRevisions prepares an operation that changes something for If-Match.
func (a *api) takeRevisions(op *huma.Operation, r route) {
	if !r.revises {
		return
	}
	op.Middlewares = append(op.Middlewares, a.expectRevision)
	op.Errors = append(op.Errors, http.StatusPreconditionFailed)
	longest := maxIfMatch
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: ifMatchHeader, In: "header", Example: `"h1x9k2m4p"`,
		Description: "The ETag of what was read: when it was changed since, the answer is 412, `error` being `" +
			revision.ReasonChanged + "`, and nothing is changed",
		Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &longest},
	})
}

// expectRevision keeps a request with If-Match from changing another revision.
func (a *api) expectRevision(ctx huma.Context, next func(huma.Context)) {
	header := strings.TrimSpace(ctx.Header(ifMatchHeader))
	if header == "" || header == "*" { // any; what is not there is 404 either way
		next(ctx)
		return
	}
	revisions, ok := parseTags(header)
	if !ok {
		a.fail(ctx, apperr.InvalidField(ifMatchHeader, nil, `must be the ETag of what was read, in its quotes, or *`))
		return
	}
	next(huma.WithContext(ctx, revision.Expect(ctx.Context(), revisions)))
}

// parseTags reads a list of entity tags. Weak ones, which this API does not
// give, are of no revision.
func parseTags(header string) ([]string, bool) {
	if len(header) > maxIfMatch {
		return nil, false
	}
	revisions := []string{}
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		opaque, weak := strings.CutPrefix(tag, "W/")
		if len(opaque) < 2 || !strings.HasPrefix(opaque, `"`) || !strings.HasSuffix(opaque, `"`) {
			return nil, false
		}
		if !weak {
			revisions = append(revisions, strings.Trim(opaque, `"`))
		}
	}
	return revisions, true
}
