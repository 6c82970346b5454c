package teamapi

import (
	"context"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/controller/internal/page"
	"fairlead.dev/shared/apperr"
)

// listed is the output of an endpoint that answers a list in parts.
type listed[T any] struct {
	Link string `header:"Link" doc:"Where the list goes on, as <…>; rel=\"next\" (RFC 8288); not there at its end"`
	Body []T    `nullable:"false"`
}

// asked is what was asked of a list.
type asked struct {
	page.Page
	url url.URL
}

type askedKey struct{}

// addList registers a route that answers a list, whole while it is short, and
// else in parts.
func addList[I, T any](a *api, r route, handler func(context.Context, *I) (*ok[[]T], error)) {
	r.lists = true
	add(a, r, func(ctx context.Context, in *I) (*listed[T], error) {
		all, err := handler(ctx, in)
		if err != nil {
			return nil, err
		}
		out := &listed[T]{Body: all.Body}
		if q, cut := ctx.Value(askedKey{}).(asked); cut && len(out.Body) > q.Take {
			out.Body, out.Link = out.Body[:q.Take], q.next()
		}
		return out, nil
	})
}

// next links to the entries that follow.
func (q asked) next() string {
	query := q.url.Query()
	query.Set("skip", strconv.Itoa(q.Skip+q.Take))
	query.Set("take", strconv.Itoa(q.Take))
	return "<" + q.url.EscapedPath() + "?" + query.Encode() + `>; rel="next"`
}

// takePages prepares an operation that lists for skip and take.
func (a *api) takePages(op *huma.Operation, r route) {
	if !r.lists {
		return
	}
	op.Middlewares = append(op.Middlewares, a.paginate)
	least, one, most := 0.0, 1.0, float64(page.Max)
	op.Parameters = append(op.Parameters,
		&huma.Param{Name: "skip", In: "query", Description: "How many entries are passed over",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Default: 0}},
		&huma.Param{Name: "take", In: "query", Description: "How many entries there are at most; the header Link says where the list goes on",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &one, Maximum: &most, Default: page.Max}},
	)
}

// paginate has one entry more read than is wanted, which tells whether the list
// goes on without counting it.
func (a *api) paginate(ctx huma.Context, next func(huma.Context)) {
	q := asked{Page: page.Page{Take: page.Max}, url: ctx.URL()}
	for _, p := range []struct {
		name        string
		value       *int
		least, most int
	}{{"skip", &q.Skip, 0, 1 << 30}, {"take", &q.Take, 1, page.Max}} {
		text := ctx.Query(p.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < p.least || n > p.most {
			a.fail(ctx, apperr.InvalidField(p.name, text, "must be a number from %d to %d", p.least, p.most))
			return
		}
		*p.value = n
	}
	inner := page.With(ctx.Context(), page.Page{Skip: q.Skip, Take: q.Take + 1})
	next(huma.WithContext(ctx, context.WithValue(inner, askedKey{}, q)))
}
