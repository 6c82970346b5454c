package teamapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// checkQuery refuses a request whose query says what its route would pass over:
// a parameter that the route's declaration has not, one given twice, and, where
// something is changed, one that is named but empty. Who mistypes
// ?containers=keep at a DELETE does not lose containers.
func (a *api) checkQuery(ctx huma.Context, next func(huma.Context)) {
	asked := ctx.URL()
	if asked.RawQuery == "" {
		next(ctx)
		return
	}
	query, err := url.ParseQuery(asked.RawQuery)
	if err != nil {
		a.fail(ctx, newProblem(http.StatusBadRequest, "the query can't be read: "+err.Error()))
		return
	}
	known := queryNames(ctx.Operation())
	var found []error
	for name, values := range query {
		var fault string
		switch {
		case !slices.Contains(known, name):
			fault = "is no query parameter of this endpoint; " + theKnown(known)
		case len(values) > 1:
			fault = "is given more than once"
		case values[0] == "" && ctx.Method() != http.MethodGet:
			fault = "is empty; give it a value, or leave it out"
		default:
			continue
		}
		found = append(found, &huma.ErrorDetail{Location: "query." + clipped(name), Message: fault})
	}
	if len(found) == 0 {
		next(ctx)
		return
	}
	slices.SortFunc(found, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	a.fail(ctx, humaProblem(http.StatusBadRequest, "the query is wrong", found...))
}

// queryNames are the query parameters that an operation declares.
func queryNames(op *huma.Operation) []string {
	var names []string
	for _, p := range op.Parameters {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	return names
}

func theKnown(names []string) string {
	if len(names) == 0 {
		return "it takes none"
	}
	return "it takes " + strings.Join(names, ", ")
}

// clipped bounds a name that the client made up.
func clipped(name string) string {
	const most = 70
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
