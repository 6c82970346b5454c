// Package setup is the one page a new installation needs before it has any
// user: where its administrator registers with the set-up token.
package setup

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

	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// Path is where the page is. The token goes behind a '#', which browsers keep
// to themselves: it is in no request and so in no log on the way.
const Path = "/setup"

// maxFormBytes bounds the form: three short fields.
const maxFormBytes = 8 << 10

// policy lets the page run its own script and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

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
	Config
	template *template.Template
}

// Mount adds the page to the engine.
func Mount(engine *gin.Engine, c Config) error {
	t, err := template.ParseFS(files, "setup.html")
	if err != nil {
		return err
	}
	p := page{Config: c, template: t}
	engine.GET(Path, p.show)
	engine.POST(Path, p.register)
	for _, file := range []string{"setup.js", "setup.css"} {
		engine.StaticFileFS(Path+"/"+file, file, http.FS(files))
	}
	return nil
}

func (p page) show(c *gin.Context) {
	needed, err := p.Users.NeedsSetup(c.Request.Context())
	if err != nil {
		p.fail(c, err, "")
		return
	}
	p.render(c, http.StatusOK, view{Over: !needed})
}

func (p page) register(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	email := c.PostForm("email")
	if allowed, wait := p.Allowed(c.Request.RemoteAddr); !allowed {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		p.render(c, http.StatusTooManyRequests, view{Problem: "too many attempts; try again in " + wait.Round(time.Second).String(), Email: email})
		return
	}
	needed, err := p.Users.NeedsSetup(c.Request.Context())
	if err != nil {
		p.fail(c, err, email)
		return
	}
	if !needed {
		p.render(c, http.StatusConflict, view{Over: true})
		return
	}
	u, err := p.Users.Register(c.Request.Context(), user.RegisterCommand{
		Email: email, Password: c.PostForm("password"), SetupToken: c.PostForm("token"),
	})
	if err != nil {
		p.fail(c, err, email)
		return
	}
	p.render(c, http.StatusOK, view{Done: u.Email})
}

// fail shows the form again with what was wrong; what is our own fault is
// logged and not shown.
func (p page) fail(c *gin.Context, err error, email string) {
	var known *apperr.Error
	status, problem := http.StatusInternalServerError, "something went wrong on our side; the controller's log says more"
	if errors.As(err, &known) && known.Kind != apperr.Internal {
		problem = known.Message
		if known.Field != "" {
			problem = known.Field + ": " + problem
		}
		status = http.StatusBadRequest
		if known.Kind == apperr.Unavailable {
			status = http.StatusServiceUnavailable
		}
	} else {
		p.Log.Error("set-up page failed", logging.KeyError, err)
	}
	p.render(c, status, view{Problem: problem, Email: email})
}

func (p page) render(c *gin.Context, status int, v view) {
	var body bytes.Buffer
	if err := p.template.Execute(&body, v); err != nil {
		p.Log.Error("set-up page can't be shown", logging.KeyError, err)
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Header("Content-Security-Policy", policy)
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}
