// Package teamapi is the native team API, under /api. Handlers decode, call
// one service and encode; rules live in the services.
package teamapi

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"fairlead.dev/controller/internal/access"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/logging"
)

// MaxBodyBytes bounds every request body.
const MaxBodyBytes = 1 << 20

// installProblems sets huma's hook for its own error answers. The hook is a
// variable of that library, so it is set once for the process and before any
// server runs.
var installProblems = sync.OnceFunc(func() { huma.NewError = humaProblem }) //nolint:gochecknoglobals // once for the process is the point

// api carries what every group of routes needs.
type api struct {
	huma.API
	deps Deps
	log  *slog.Logger
}

// Mount adds the team API's routes to the engine and returns its OpenAPI
// document.
func Mount(engine *gin.Engine, deps Deps) *huma.OpenAPI {
	installProblems()
	if deps.Access == nil {
		deps.Access = access.New(deps.Now)
	}
	config := huma.DefaultConfig("Fairlead team API", buildinfo.Version())
	config.Info.Description = "Deploys containers to nodes you do not want to open a port on."
	config.OpenAPIPath = "/openapi"
	config.DocsPath = ""    // served by the docs page, which loads nothing from outside
	config.SchemasPath = "" // bodies carry no $schema links
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
		"session": {Type: "apiKey", In: "cookie", Name: SessionCookie},
	}
	a := &api{
		API:  humagin.New(engine, config),
		deps: deps,
		log:  deps.Log.With(logging.KeyComponent, "teamapi"),
	}
	a.UseMiddleware(a.authenticate, a.checkQuery)
	a.routes()
	describeNulls(a.OpenAPI())
	engine.NoRoute(noRoute(http.StatusNotFound, "no such endpoint; /docs lists them all"))
	engine.NoMethod(noRoute(http.StatusMethodNotAllowed, "the endpoint does not take this method"))
	return a.OpenAPI()
}

// route describes one endpoint.
type route struct {
	method, path string
	// summary also makes the operation id.
	summary string
	tag     string
	// action is the permission it takes; empty only with public.
	action authz.Action
	public bool
	// status of success; 200 when 0.
	status int
	errors []int
	hidden bool
	// waits: the handler may take longer than reading a request may.
	waits bool
	// produces is the media type of the answer when it is not JSON.
	produces string
	// lists: it answers a list, in parts; set by addList.
	lists bool
	// revises: it changes something that has a revision, and takes If-Match.
	revises bool
	// repeats says what an Idempotency-Key does to it.
	repeats repeats
}

// metaPublic marks the operations that need no log-in.
const metaPublic = "public"

// add registers a route and its handler. A route with neither permission nor
// the word public is a mistake that can't start.
func add[I, O any](a *api, r route, handler func(context.Context, *I) (*O, error)) {
	if r.public == (r.action != "") || (r.action != "" && !authz.Known(r.action)) {
		//nolint:forbidigo // a route without a permission must not start
		panic("teamapi: " + r.method + " " + r.path + " has no permission row")
	}
	op := huma.Operation{
		OperationID:  strings.ReplaceAll(strings.ToLower(r.summary), " ", "-"),
		Method:       r.method,
		Path:         r.path,
		Summary:      r.summary,
		Tags:         []string{r.tag},
		MaxBodyBytes: MaxBodyBytes,
		Errors:       append([]int{http.StatusBadRequest}, r.errors...),
		Metadata:     map[string]any{metaPublic: r.public},
		Hidden:       r.hidden,
	}
	if r.status != 0 {
		op.DefaultStatus = r.status
	}
	if r.produces != "" {
		op.Responses = map[string]*huma.Response{strconv.Itoa(http.StatusOK): {
			Content: map[string]*huma.MediaType{r.produces: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}}
	}
	if r.waits {
		op.Middlewares = append(op.Middlewares, readBeforeWaiting)
	}
	if !r.public {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
		op.Security = []map[string][]string{{"token": {}}, {"session": {}}}
		if strings.Contains(r.path, "{") {
			op.Errors = append(op.Errors, http.StatusNotFound)
		}
		op.Extensions = map[string]any{"x-permission": string(r.action)}
	}
	texts := bodyIndex(reflect.TypeFor[I]())
	if texts != nil {
		op.Errors = append(op.Errors, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	a.takeKeys(&op, r)
	a.takeRevisions(&op, r)
	a.takePages(&op, r)
	forgets, body := mayChangeAccess(r), placesOf(reflect.TypeFor[I]())
	huma.Register(a.API, op, func(ctx context.Context, in *I) (*O, error) {
		if texts != nil {
			if problem := checkTexts(reflect.ValueOf(in).Elem().FieldByIndex(texts)); problem != nil {
				body.point(problem)
				return nil, problem
			}
		}
		if hasRead, waits := ctx.Value(readKey{}).(func()); waits {
			hasRead()
		}
		out, err := handler(ctx, in)
		if forgets {
			// Before the answer: from then on it counts here. Other controllers are
			// told by the database.
			a.deps.Access.Forget()
		}
		if err != nil {
			problem := problemOf(a.log.With(logging.KeyRequest, requestID(ctx)), err)
			body.point(problem)
			return nil, problem
		}
		return out, nil
	})
	// huma documents its own status for bodies that don't fit; ours is 400.
	if item := a.OpenAPI().Paths[r.path]; item != nil {
		for _, documented := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if documented != nil {
				delete(documented.Responses, "422")
			}
		}
		if r.repeats == once {
			describeReplays(item.Post)
		}
	}
}

type readKey struct{}

// readBeforeWaiting lets a handler that waits take back the deadline for reading
// its request once that is read: when it passed it would end the request's
// context.
func readBeforeWaiting(ctx huma.Context, next func(huma.Context)) {
	hasRead := func() { _ = ctx.SetReadDeadline(time.Time{}) } // a test's recorder has none
	next(huma.WithContext(ctx, context.WithValue(ctx.Context(), readKey{}, hasRead)))
}

// noRoute answers what is no endpoint in the words of one.
func noRoute(status int, message string) gin.HandlerFunc {
	return func(c *gin.Context) {
		p := newProblem(status, message)
		c.Header("Content-Type", p.ContentType(""))
		c.JSON(status, p)
	}
}

// empty is the output of endpoints that answer 204.
type empty struct{}
