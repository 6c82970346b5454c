// Package hostupdate replaces an agent that a service manager of the host runs,
// outside of any container, by another build.
//
// The programs lie beside each other in the state folder: bin/dagent.<build>, and
// bin/dagent is a link to the one that the service manager starts. A candidate is
// a child of the agent that serves. Once it has taken over, the link leads to it;
// it then ends the old one and itself, and the service manager starts it anew,
// under its own eyes.
package hostupdate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/apperr"
)

const (
	// folder is where in the state folder programs are, link the one that the
	// service manager starts.
	folder = "bin"
	link   = "dagent"
	prefix = link + "."
	// fileWords is what a candidate writes to instead of the service's log.
	fileWords = "next.log"
	maxWords  = 1000
)

var _ agentrt.Replacer = (*Replacer)(nil)

// Config is what a Replacer needs.
type Config struct {
	// Program is the file this process runs, without links.
	Program string
	// Args and Environ are what it was started with, and candidates are.
	Args, Environ []string
	// EnvUpdateID is the variable that tells a candidate its update, Candidate
	// that this process is one: a child of the agent before it.
	EnvUpdateID string
	Candidate   bool
	// Leave ends this process, for the service manager to start the link.
	Leave func()
}

// Replacer replaces the program of a service by another build.
type Replacer struct {
	Config

	mu sync.Mutex
	// ended has how a candidate of this process ended.
	ended map[string]string
}

// New returns a Replacer.
func New(c Config) *Replacer { return &Replacer{Config: c, ended: map[string]string{}} }

// Build returns which build of a state folder's a program is; "" when it is none
// of them, so that no service manager starts it by the link. An update's build is
// called after the update.
func Build(stateDir, program string) string {
	build, named := strings.CutPrefix(filepath.Base(program), prefix)
	if !named || filepath.Dir(program) != filepath.Join(stateDir, folder) {
		return ""
	}
	return build
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

func (r *Replacer) folder() string { return filepath.Dir(r.Program) }

func (r *Replacer) program(id string) (string, error) {
	if !idPattern.MatchString(id) {
		return "", apperr.New(apperr.Invalid, "%.80q cannot name an update's program", id)
	}
	return filepath.Join(r.folder(), prefix+id), nil
}

// own is an error unless this process is the build of the update.
func (r *Replacer) own(id string) error {
	if program, err := r.program(id); err != nil || program != r.Program {
		return apperr.New(apperr.Conflict, "this agent is not the build of the update %s", id)
	}
	return nil
}

// Self names the program's file.
func (r *Replacer) Self(context.Context) (string, error) { return filepath.Base(r.Program), nil }

// Start takes the program out of the build's archive and runs it.
func (r *Replacer) Start(ctx context.Context, b agentrt.Build) error {
	program, err := r.program(b.ID)
	if err != nil {
		return err
	}
	if err := end(ctx, program); err != nil { // of a start that was cut short
		return err
	}
	if err := extract(b.Archive, program); err != nil {
		return err
	}
	const ownersOnly = 0o600
	words, err := os.OpenFile(filepath.Join(r.folder(), fileWords), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, ownersOnly)
	if err != nil {
		return err
	}
	defer func() { _ = words.Close() }()      // the candidate has it
	child := exec.Command(program, r.Args...) //nolint:noctx // the program is signed, and outlives this one
	child.Env = append(without(r.Environ, r.EnvUpdateID, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"), r.EnvUpdateID+"="+b.ID)
	child.Stdout, child.Stderr = words, words
	if err := child.Start(); err != nil {
		return apperr.Wrap(apperr.Invalid, err, "run the new agent")
	}
	go func() { // for as long as the candidate lives
		_ = child.Wait() // told by its state
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended[b.ID] = child.ProcessState.String()
	}()
	return nil
}

func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(names, name)
	})
}

// Look tells how the candidate does.
func (r *Replacer) Look(_ context.Context, id string) (agentrt.Look, error) {
	program, err := r.program(id)
	if err != nil {
		return agentrt.Look{}, err
	}
	found, err := running(program)
	if err != nil {
		return agentrt.Look{}, err
	}
	seen := agentrt.Look{Alive: len(found) > 0, Words: "its process runs"}
	if !seen.Alive {
		r.mu.Lock()
		seen.Words = "its process ended"
		if how := r.ended[id]; how != "" {
			seen.Words += " (" + how + ")"
		}
		r.mu.Unlock()
	}
	if said := r.lastWords(); said != "" {
		seen.Words += "; it said last: " + said
	}
	return seen, nil
}

// lastWords returns the end of what the candidate wrote, on one line and without
// what could play with a terminal.
func (r *Replacer) lastWords() string {
	file, err := os.Open(filepath.Join(r.folder(), fileWords))
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }() // only read from
	if info, err := file.Stat(); err == nil && info.Size() > maxWords {
		if _, err := file.Seek(-maxWords, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(io.LimitReader(file, maxWords)) // what came of it
	plain := strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		return -1
	}, string(text))
	return strings.Join(strings.FieldsFunc(plain, func(c rune) bool { return c == '\n' }), " | ")
}

// Discard ends the candidate and removes its program; the service manager goes on
// with this one.
func (r *Replacer) Discard(ctx context.Context, id string) error {
	program, err := r.program(id)
	if err != nil {
		return nil //nolint:nilerr // nothing was ever started under such a name
	}
	if program == r.Program {
		return apperr.New(apperr.Conflict, "this agent is the build of the update %s itself", id)
	}
	if err := end(ctx, program); err != nil {
		return err
	}
	if leads, err := os.Readlink(r.link()); err == nil && leads == filepath.Base(program) {
		if err := r.relink(); err != nil {
			return err
		}
	}
	return remove(program, program+".part", filepath.Join(r.folder(), fileWords))
}

// Keep has the service manager start the candidate, which this process is, from
// now on.
func (r *Replacer) Keep(_ context.Context, id string) error {
	if err := r.own(id); err != nil {
		return err
	}
	return r.relink()
}

// Succeed ends the incumbent and removes every other program. A candidate also
// ends itself, so that the service manager starts it: what is left to do is done
// by what was started then.
func (r *Replacer) Succeed(ctx context.Context, id, incumbent string) error {
	if err := r.own(id); err != nil {
		return err
	}
	if old := filepath.Base(incumbent); strings.HasPrefix(old, prefix) && old != filepath.Base(r.Program) {
		if err := end(ctx, filepath.Join(r.folder(), old)); err != nil {
			return err
		}
	}
	if r.Candidate {
		r.Leave()
		return apperr.New(apperr.Unavailable, "this process ends, and the service manager starts the agent anew")
	}
	entries, err := os.ReadDir(r.folder())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name == fileWords || strings.HasPrefix(name, prefix) && name != filepath.Base(r.Program) {
			if err := remove(filepath.Join(r.folder(), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Replacer) link() string { return filepath.Join(r.folder(), link) }

// relink has the service manager start this program.
func (r *Replacer) relink() error {
	next := r.link() + ".new"
	if err := remove(next); err != nil {
		return err
	}
	err := os.Symlink(filepath.Base(r.Program), next)
	if err == nil {
		err = os.Rename(next, r.link())
	}
	if err != nil {
		return fmt.Errorf("have the service manager start %s: %w", filepath.Base(r.Program), err)
	}
	parent, err := os.Open(r.folder())
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func remove(files ...string) error {
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
