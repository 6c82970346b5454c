// Package invitation is the page where an invitation's link leads: who was
// invited chooses a password there, or logs in, and is in the team.
package invitation

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// Path is where the page is. The team is in its query, the token behind a '#',
// which browsers keep to themselves.
const Path = "/register"

// maxFormBytes bounds the form: four short fields.
const maxFormBytes = 8 << 10

// policy lets the page run its own script and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

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
	Config
	template *template.Template
}

// Mount adds the page to the engine.
func Mount(engine *gin.Engine, c Config) error {
	t, err := template.ParseFS(files, "register.html")
	if err != nil {
		return err
	}
	p := page{Config: c, template: t}
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
	p.render(c, http.StatusOK, v)
}

func (p page) join(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	v := view{Email: c.PostForm("email"), Token: c.PostForm("token")}
	id, err := uuid.Parse(c.PostForm("team"))
	if err == nil {
		v.Team = id.String()
	}
	if allowed, wait := p.Allowed(c.Request.RemoteAddr); !allowed {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		v.Problem = "too many attempts; try again in " + wait.Round(time.Second).String()
		p.render(c, http.StatusTooManyRequests, v)
		return
	}
	if err != nil {
		p.render(c, http.StatusBadRequest, view{})
		return
	}
	if err := p.accept(c.Request.Context(), id, v.Email, c.PostForm("password"), v.Token); err != nil {
		p.fail(c, err, v)
		return
	}
	p.render(c, http.StatusOK, view{Team: v.Team, Joined: v.Email})
}

// accept makes the account when a token allows that and there is none yet, and
// takes it into the team.
func (p page) accept(ctx context.Context, teamID uuid.UUID, email, password, token string) error {
	if token != "" {
		_, err := p.Users.Register(ctx, user.RegisterCommand{Email: email, Password: password, InvitationToken: token})
		if err != nil && !apperr.Is(err, apperr.Conflict) {
			return err
		}
	}
	session, _, err := p.Users.Login(ctx, email, password)
	if err != nil {
		return err
	}
	who, err := p.Users.Authenticate(ctx, session)
	if err != nil {
		return err
	}
	who.Method = "post"
	ctx = actor.With(ctx, who)
	// The session was for this one act.
	return errors.Join(p.Teams.Accept(ctx, teamID, token), p.Users.Logout(ctx))
}

// fail shows the form again with what was wrong; what is our own fault is
// logged and not shown.
func (p page) fail(c *gin.Context, err error, v view) {
	var known *apperr.Error
	status := http.StatusInternalServerError
	v.Problem = "something went wrong on our side; the controller's log says more"
	if errors.As(err, &known) && known.Kind != apperr.Internal {
		v.Problem = known.Message
		if known.Field != "" {
			v.Problem = known.Field + ": " + v.Problem
		}
		status = http.StatusBadRequest
		if known.Kind == apperr.Unavailable {
			status = http.StatusServiceUnavailable
		}
	} else {
		p.Log.Error("invitation page failed", logging.KeyError, err)
	}
	p.render(c, status, v)
}

func (p page) render(c *gin.Context, status int, v view) {
	var body bytes.Buffer
	if err := p.template.Execute(&body, v); err != nil {
		p.Log.Error("invitation page can't be shown", logging.KeyError, err)
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Header("Content-Security-Policy", policy)
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}
