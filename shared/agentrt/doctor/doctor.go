// Package doctor finds out what keeps an agent from its controller. It looks at
// what the agent has on disk and goes the way that the agent goes, hop by hop,
// and says for each whether it is good, and if not, what to do. It changes
// nothing and does not disturb an agent that runs.
package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"fairlead.dev/shared/agentrt/reach"
	"fairlead.dev/shared/pki"
)

// Config says what to examine.
type Config struct {
	// StateDir is the agent's folder.
	StateDir string
	// Engine returns one line about the engine the agent drives, or why it
	// does not answer.
	Engine func(ctx context.Context) (string, error)
	// EngineFix is what to do when it does not.
	EngineFix string
	// Again is what to do about an agent that must be installed anew.
	Again string
	// Now is the clock; nil means the real one.
	Now func() time.Time
}

// Finding is the outcome of one check.
type Finding struct {
	// Check is what was looked at, in a word or two.
	Check string
	// OK tells whether it is good; What says what was found.
	OK   bool
	What string
	// Fix is what to do; empty when nothing need be done.
	Fix string
}

// hopTimeout bounds each hop.
const hopTimeout = 10 * time.Second

// Examine makes all checks that make sense after those before them, and tells
// each finding as it comes. It reports whether all is well.
func Examine(ctx context.Context, c Config, tell func(Finding)) (healthy bool) {
	if c.Now == nil {
		c.Now = time.Now
	}
	e := &examination{Config: c, healthy: true, tell: tell}
	e.folder()
	if e.identity() {
		e.way(ctx)
	}
	e.process()
	e.engine(ctx)
	return e.healthy
}

// Print examines and writes one line for each finding, and below it what to do.
func Print(ctx context.Context, c Config, out io.Writer) (healthy bool, err error) {
	healthy = Examine(ctx, c, func(f Finding) {
		word := "ok  "
		if !f.OK {
			word = "FAIL"
		}
		text := fmt.Sprintf("%s  %-12s %s\n", word, f.Check, oneLine(f.What))
		if f.Fix != "" {
			text += fmt.Sprintf("      %-12s -> %s\n", "", oneLine(f.Fix))
		}
		if _, failed := io.WriteString(out, text); failed != nil && err == nil {
			err = failed
		}
	})
	return healthy, err
}

// oneLine keeps what others wrote from writing lines of ours.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// examination is one run.
type examination struct {
	Config
	healthy bool
	tell    func(Finding)

	controller string
	trust      *pki.Trust
	// introduction is set for an agent that is yet to enrol.
	introduction *pki.Introduction
	own          tls.Certificate
	node         string
}

func (e *examination) ok(check, what string, values ...any) {
	e.tell(Finding{Check: check, OK: true, What: fmt.Sprintf(what, values...)})
}

func (e *examination) fail(check, fix, what string, values ...any) {
	e.healthy = false
	e.tell(Finding{Check: check, What: fmt.Sprintf(what, values...), Fix: fix})
}

func (e *examination) problem(check string, err error) {
	if p, ok := reach.Of(err); ok {
		e.fail(check, p.Fix, "%s", p.What)
		return
	}
	e.fail(check, "", "%v", err)
}

func (e *examination) engine(ctx context.Context) {
	if e.Engine == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	what, err := e.Engine(ctx)
	if err != nil {
		e.fail("engine", e.EngineFix, "%v", err)
		return
	}
	e.ok("engine", "%s", what)
}

func (e *examination) config(own tls.Certificate) *tls.Config {
	if e.introduction != nil {
		return e.introduction.TLSConfig()
	}
	return pki.AgentTLS(e.trust, own, e.Now)
}

func (e *examination) dial(own tls.Certificate) (*grpc.ClientConn, error) {
	config := e.config(own)
	path := reach.To(e.controller, e.Now)
	return grpc.NewClient(path.Target(), path.Options(config)...)
}
