// Package pgserver runs the built-in PostgreSQL: the controller's own server,
// made from the binaries installed on the machine, its data in the state
// folder, reachable through a Unix socket only, and stopped with the
// controller. It is for Unix systems.
//
// In the state folder it keeps
//
//	postgres/       the data; once made, never removed or replaced
//	postgres.run/   the socket, for the server's account alone
//	postgres.log    what the server says (and one older file, .1)
//	postgres.lock   held while a controller runs
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Config says where and how the server runs.
type Config struct {
	// StateDir is the folder everything is kept in; made if missing, with its
	// parents. When the controller is root, on systems other than Linux the
	// server's account must be able to pass through all of them (mode o+x).
	StateDir string
	// Log receives what happens, and at debug what the server says.
	Log *slog.Logger
	// Settings are server settings beyond ours, e.g. fsync=off for tests.
	Settings map[string]string
	// BinDirs are patterns of folders to look for the server in when it is
	// not on PATH; nil means those of the usual distributions.
	BinDirs []string
}

// Server is a running server. It is this process's child, but not bound to
// its life: when the controller is killed the server stays whole, and the
// next Start on the folder stops it and starts its own.
type Server struct {
	cfg     Config
	socket  string
	logPath string
	logFrom int64

	cmd  *exec.Cmd
	lock *os.File

	stopping  chan struct{}
	stopOnce  sync.Once
	done      chan struct{}
	followed  chan struct{}
	err       error // why it ended; read after done
	unlocking sync.Once
}

// Start finds the binaries, makes the data folder if there is none, clears
// away what a killed controller left, starts the server, waits until it
// answers, and makes the controller's database. Recovery after a crash takes
// as long as it takes; only ctx ends the wait, and ctx means nothing to the
// server once Start has returned.
//
// Errors say what to do: no usable binaries (ErrNoBinaries), a folder in use
// by another controller, data of another major version, a folder the server's
// account cannot reach.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	stateDir, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("find state folder: %w", err)
	}
	cfg.StateDir = stateDir
	if cfg.BinDirs == nil {
		cfg.BinDirs = defaultBinDirs()
	}
	installed, err := findBinaries(ctx, cfg.BinDirs)
	if err != nil {
		return nil, err
	}
	// Others may pass through it, not look into it.
	if err := os.MkdirAll(stateDir, 0o711); err != nil { //nolint:gosec // see above
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := lockState(stateDir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		lock:     lock,
		logPath:  filepath.Join(stateDir, "postgres.log"),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
		followed: make(chan struct{}),
	}
	if err := s.start(ctx, installed); err != nil {
		s.unlock()
		return nil, fmt.Errorf("start the built-in PostgreSQL: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, installed []binaries) error {
	dataDir := filepath.Join(s.cfg.StateDir, "postgres")
	major, err := dataMajor(dataDir)
	if err != nil {
		return err
	}
	run := installed[0]
	if major != 0 {
		if run, err = forMajor(installed, major, dataDir); err != nil {
			return err
		}
	}
	who, err := chooseAccount(dataDir)
	if err != nil {
		return err
	}
	if major == 0 {
		if err := initData(ctx, s.cfg.StateDir, dataDir, who, run, s.cfg.Log); err != nil {
			return err
		}
	}
	data, err := who.enter(ctx, dataDir, run)
	if err != nil {
		return err
	}
	defer data.close() // the server has its own
	if err := clearOrphan(ctx, dataDir, s.cfg.Log); err != nil {
		return err
	}
	// A socket is found by its path: where the data had to be handed to the
	// account, so would the folder of the socket, and it cannot be.
	if s.socket, err = socketDir(ctx, s.cfg.StateDir, data.door == nil, who, s.cfg.Log); err != nil {
		return err
	}
	if err := s.launch(ctx, who, run, data); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	s.cfg.Log.InfoContext(ctx, "built-in PostgreSQL runs", "pid", s.cmd.Process.Pid, "major", run.major, "data", dataDir)
	return nil
}

// DSN is how to connect to the controller's database.
func (s *Server) DSN() string { return dsn(s.socket, database) }

// Done is closed when the server has ended, asked to or not.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says, after Done, why the server ended by itself; nil when it was
// stopped.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop ends the server and waits for it: open transactions are rolled back,
// connections closed, everything written. When ctx ends first the server is
// made to quit at once, which loses nothing committed but makes the next
// start recover; Stop then returns an error. Stopping twice is no error.
func (s *Server) Stop(ctx context.Context) error {
	defer s.unlock()
	s.stopOnce.Do(func() { close(s.stopping) })
	if s.ended(ctx, syscall.SIGINT) {
		return nil
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitPatience)
	defer cancel()
	if s.ended(late, syscall.SIGQUIT) {
		return fmt.Errorf("PostgreSQL was made to quit before it had stopped cleanly: %w", context.Cause(ctx))
	}
	return fmt.Errorf("PostgreSQL process %d does not end", s.cmd.Process.Pid)
}

// ended sends the signal and reports whether the server ended before ctx did.
func (s *Server) ended(ctx context.Context, signal os.Signal) bool {
	_ = s.cmd.Process.Signal(signal) // fails only when it has ended
	select {
	case <-s.done:
		<-s.followed
		_ = os.Remove(s.socket) // stays when a quitting server left files in it
		return true
	case <-ctx.Done():
		return false
	}
}

// Release lets go of a running server without stopping it, as the end of this
// process would: it keeps serving until somebody starts on its folder again.
func (s *Server) Release() { s.unlock() }

func (s *Server) unlock() {
	s.unlocking.Do(func() { _ = s.lock.Close() })
}
