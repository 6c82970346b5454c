// Package invitation is the page where an invitation's link leads: who was
// invited chooses a password there, or logs in, and is in the team.
package invitation

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/rest/form"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

// Path is where the page is. The team is in its query, the token behind a '#',
// which browsers keep to themselves.
const Path = "/register"

//go:embed register.html register.js
var files embed.FS

// Users registers people and logs them in.
type Users interface {
	Register(ctx context.Context, cmd user.RegisterCommand) (user.User, error)
	Login(ctx context.Context, email, password string) (secret string, expiresAt time.Time, err error)
	Authenticate(ctx context.Context, presented string) (actor.Actor, error)
	Logout(ctx context.Context) error
}

// Teams takes answers to invitations.
type Teams interface {
	Accept(ctx context.Context, teamID uuid.UUID, presented string) error
}

// Config is what the page needs.
type Config struct {
	Users Users
	Teams Teams
	Log   *slog.Logger
	// Allowed tells whether an address may try now, and if not, how long it
	// should wait.
	Allowed func(address string) (bool, time.Duration)
}

// view is what the page shows.
type view struct {
	// Team is the id of the team, empty when the link has none.
	Team string
	// Problem is why the last try was refused; Email and Token are kept for
	// the next.
	Problem, Email, Token string
	// Joined is the address of the new member.
	Joined string
}

type page struct {
	form.Page
	users Users
	teams Teams
}

// Mount adds the page to the engine.
func Mount(engine *gin.Engine, c Config) error {
	t, err := template.ParseFS(files, "register.html")
	if err != nil {
		return err
	}
	p := page{users: c.Users, teams: c.Teams, Page: form.Page{Name: "invitation", Template: t, Log: c.Log, Allowed: c.Allowed}}
	engine.GET(Path, p.show)
	engine.POST(Path, p.join)
	engine.StaticFileFS(Path+"/register.js", "register.js", http.FS(files))
	return nil
}

func (p page) show(c *gin.Context) {
	v := view{}
	if id, err := uuid.Parse(c.Query("team")); err == nil {
		v.Team = id.String()
	}
	p.Render(c, http.StatusOK, v)
}

func (p page) join(c *gin.Context) {
	tooMany := p.Limit(c)
	v := view{Email: c.PostForm("email"), Token: c.PostForm("token")}
	id, err := uuid.Parse(c.PostForm("team"))
	if err == nil {
		v.Team = id.String()
	}
	if tooMany != "" {
		v.Problem = tooMany
		p.Render(c, http.StatusTooManyRequests, v)
		return
	}
	if err != nil {
		p.Render(c, http.StatusBadRequest, view{})
		return
	}
	if err := p.accept(c.Request.Context(), id, v.Email, c.PostForm("password"), v.Token); err != nil {
		p.fail(c, err, v)
		return
	}
	p.Render(c, http.StatusOK, view{Team: v.Team, Joined: v.Email})
}

// accept makes the account when a token allows that and there is none yet, and
// takes it into the team.
func (p page) accept(ctx context.Context, teamID uuid.UUID, email, password, token string) error {
	if token != "" {
		_, err := p.users.Register(ctx, user.RegisterCommand{Email: email, Password: password, InvitationToken: token})
		if err != nil && !apperr.Is(err, apperr.Conflict) {
			return err
		}
	}
	session, _, err := p.users.Login(ctx, email, password)
	if err != nil {
		return err
	}
	who, err := p.users.Authenticate(ctx, session)
	if err != nil {
		return err
	}
	who.Method = "post"
	ctx = actor.With(ctx, who)
	// The session was for this one act.
	return errors.Join(p.teams.Accept(ctx, teamID, token), p.users.Logout(ctx))
}

// fail shows the form again with what was wrong.
func (p page) fail(c *gin.Context, err error, v view) {
	status, problem := p.Problem(err)
	v.Problem = problem
	p.Render(c, status, v)
}
