package teamapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// SessionCookie carries a session token for browsers.
const SessionCookie = "fairlead_session"

type requestKey struct{}

// WithRequestID returns a context that carries the request's id, for logs.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// authenticate puts the actor, and on team routes the team, into the context
// of every route that is not public. From here on nothing reads a header to
// find out who is asking.
func (a *api) authenticate(ctx huma.Context, next func(huma.Context)) {
	if public, _ := ctx.Operation().Metadata[metaPublic].(bool); public {
		next(ctx)
		return
	}
	inner := ctx.Context()
	presented := presentedToken(ctx)
	if presented == "" {
		_, err := actor.From(inner) // none: this is the error that says so
		a.fail(ctx, err)
		return
	}
	slug, method := ctx.Param("teamSlug"), strings.ToLower(ctx.Method())
	enter := func(ctx context.Context) (context.Context, error) { return a.enter(ctx, presented, slug, method) }
	inner, err := a.remember(withAgain(inner, enter), presented, slug, method)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	next(huma.WithContext(ctx, inner))
}

// remember is enter for those who were here a moment ago.
func (a *api) remember(ctx context.Context, presented, slug, method string) (context.Context, error) {
	e, generation, known := a.deps.Access.Find(presented, slug)
	if known {
		e.Actor.Method = method
		if ctx = actor.With(ctx, e.Actor); slug != "" {
			ctx = actor.WithTeam(ctx, e.Team)
		}
		return ctx, nil
	}
	ctx, err := a.enter(ctx, presented, slug, method)
	if err != nil {
		return nil, err
	}
	if e.Actor, err = actor.From(ctx); err != nil {
		return nil, err
	}
	if slug != "" {
		if e.Team, err = actor.TeamFrom(ctx); err != nil {
			return nil, err
		}
	}
	a.deps.Access.Keep(generation, presented, slug, e)
	return ctx, nil
}

// mayChangeAccess tells whether a route may end somebody's right to something.
// What is done all the time and can't is named here; everything else may.
func mayChangeAccess(r route) bool {
	switch {
	case r.method == http.MethodGet, r.action == authz.DeploymentStart, r.action == authz.ContainerAct:
		return false
	default:
		return true
	}
}

// enter returns a context with the actor who presents a token, and with the
// team unless the slug is empty.
func (a *api) enter(ctx context.Context, presented, slug, method string) (context.Context, error) {
	var bound actor.Team
	who, err := a.deps.Users.Authenticate(ctx, presented)
	if apperr.Is(err, apperr.Unauthenticated) { // no person's token; perhaps a deployment's
		who, bound, err = a.deps.DeployTokens.Authenticate(ctx, presented)
	}
	if err != nil {
		return nil, err
	}
	who.Method = method
	ctx = actor.With(ctx, who)
	switch {
	case slug == "":
		return ctx, nil
	case who.Kind != actor.DeployToken:
		return a.deps.Teams.Enter(ctx, slug)
	case slug != bound.Slug:
		return nil, apperr.New(apperr.NotFound, "no such team").WithField("teamSlug", slug)
	default:
		return actor.WithTeam(ctx, bound), nil
	}
}

// presentedToken is the bearer token, or else the session cookie's; "" when
// there is neither.
func presentedToken(ctx huma.Context) string {
	if bearer, ok := strings.CutPrefix(ctx.Header("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(bearer)
	}
	if cookie, err := huma.ReadCookie(ctx, SessionCookie); err == nil {
		return cookie.Value
	}
	return ""
}

// fail answers an error from outside a handler.
func (a *api) fail(ctx huma.Context, err error) {
	p := problemOf(a.log.With(logging.KeyRequest, requestID(ctx.Context())), err)
	if p.Status == http.StatusUnauthorized {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="fairlead"`)
	}
	for name, values := range p.GetHeaders() {
		ctx.SetHeader(name, values[0])
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p)
}
