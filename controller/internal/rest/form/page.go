// Package form is the frame of the controller's few pages for people: a form
// that runs its own script and nothing else, and says what was wrong.
package form

import (
	"bytes"
	"errors"
	"html/template"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// maxBytes bounds what is sent: a few short fields.
const maxBytes = 8 << 10

// policy lets a page run its own script and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Page is one of the pages.
type Page struct {
	// Name says in the log which one it is.
	Name     string
	Template *template.Template
	Log      *slog.Logger
	// Allowed tells whether an address may try now, and if not, how long it
	// should wait.
	Allowed func(address string) (bool, time.Duration)
}

// Limit bounds what may be sent, and must be called before any field is read.
// It returns what is wrong when the address has tried too often; the answer is
// then to have the status 429, and says already when to come back.
func (p Page) Limit(c *gin.Context) (problem string) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBytes)
	allowed, wait := p.Allowed(c.Request.RemoteAddr)
	if allowed {
		return ""
	}
	c.Header("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return "too many attempts; try again in " + wait.Round(time.Second).String()
}

// Problem returns what to say of an error, with the answer's status. What is our
// own fault is logged and not shown.
func (p Page) Problem(err error) (status int, problem string) {
	var known *apperr.Error
	if !errors.As(err, &known) || known.Kind == apperr.Internal {
		p.Log.Error(p.Name+" page failed", logging.KeyError, err)
		return http.StatusInternalServerError, "something went wrong on our side; the controller's log says more"
	}
	problem = known.Message
	if known.Field != "" {
		problem = known.Field + ": " + problem
	}
	if known.Kind == apperr.Unavailable {
		return http.StatusServiceUnavailable, problem
	}
	return http.StatusBadRequest, problem
}

// Render answers with the page, showing view.
func (p Page) Render(c *gin.Context, status int, view any) {
	var body bytes.Buffer
	if err := p.Template.Execute(&body, view); err != nil {
		p.Log.Error(p.Name+" page can't be shown", logging.KeyError, err)
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Header("Content-Security-Policy", policy)
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}
