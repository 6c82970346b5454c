// Package setup is the one page a new installation needs before it has any
// user: where its administrator registers with the set-up token.
package setup

import (
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"fairlead.dev/controller/internal/rest/form"
	"fairlead.dev/controller/internal/user"
)

// Path is where the page is. The token goes behind a '#', which browsers keep
// to themselves: it is in no request and so in no log on the way.
const Path = "/setup"

//go:embed setup.html setup.js setup.css
var files embed.FS

// Users registers the first user.
type Users interface {
	Register(ctx context.Context, cmd user.RegisterCommand) (user.User, error)
	NeedsSetup(ctx context.Context) (bool, error)
}

// Config is what the page needs.
type Config struct {
	Users Users
	Log   *slog.Logger
	// Allowed tells whether an address may try now, and if not, how long it
	// should wait.
	Allowed func(address string) (bool, time.Duration)
}

// view is what the page shows.
type view struct {
	// Problem is why the last try was refused; Email is kept for the next.
	Problem, Email string
	// Done is the address of the administrator just made.
	Done string
	// Over tells that there is a user already.
	Over bool
}

type page struct {
	form.Page
	users Users
}

// Mount adds the page to the engine.
func Mount(engine *gin.Engine, c Config) error {
	t, err := template.ParseFS(files, "setup.html")
	if err != nil {
		return err
	}
	p := page{users: c.Users, Page: form.Page{Name: "set-up", Template: t, Log: c.Log, Allowed: c.Allowed}}
	engine.GET(Path, p.show)
	engine.POST(Path, p.register)
	for _, file := range []string{"setup.js", "setup.css"} {
		engine.StaticFileFS(Path+"/"+file, file, http.FS(files))
	}
	return nil
}

func (p page) show(c *gin.Context) {
	needed, err := p.users.NeedsSetup(c.Request.Context())
	if err != nil {
		p.fail(c, err, "")
		return
	}
	p.Render(c, http.StatusOK, view{Over: !needed})
}

func (p page) register(c *gin.Context) {
	tooMany := p.Limit(c)
	email := c.PostForm("email")
	if tooMany != "" {
		p.Render(c, http.StatusTooManyRequests, view{Problem: tooMany, Email: email})
		return
	}
	needed, err := p.users.NeedsSetup(c.Request.Context())
	if err != nil {
		p.fail(c, err, email)
		return
	}
	if !needed {
		p.Render(c, http.StatusConflict, view{Over: true})
		return
	}
	u, err := p.users.Register(c.Request.Context(), user.RegisterCommand{
		Email: email, Password: c.PostForm("password"), SetupToken: c.PostForm("token"),
	})
	if err != nil {
		p.fail(c, err, email)
		return
	}
	p.Render(c, http.StatusOK, view{Done: u.Email})
}

// fail shows the form again with what was wrong.
func (p page) fail(c *gin.Context, err error, email string) {
	status, problem := p.Problem(err)
	p.Render(c, status, view{Problem: problem, Email: email})
}
