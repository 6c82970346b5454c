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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// database is the one the controller lives in.
const database = "fairlead"

// slowStart is how often a start that takes long, as recovery after a crash
// may, says that it is still going on.
const slowStart = 10 * time.Second

// Config says where and how the server runs.
type Config struct {
	// StateDir is the folder everything is kept in; made if missing, with its
	// parents. When the controller is root, the server's account must be able
	// to pass through it and its parents (mode o+x).
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
	if err := os.MkdirAll(stateDir, 0o711); err != nil {
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
	if err := who.canReach(ctx, dataDir, run); err != nil {
		return err
	}
	if err := clearOrphan(ctx, dataDir, s.cfg.Log); err != nil {
		return err
	}
	if s.socket, err = socketDir(ctx, s.cfg.StateDir, who, s.cfg.Log); err != nil {
		return err
	}
	if err := who.canReach(ctx, s.socket, run); err != nil {
		return err
	}
	if err := s.launch(ctx, who, run, dataDir); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	s.cfg.Log.InfoContext(ctx, "built-in PostgreSQL runs", "pid", s.cmd.Process.Pid, "major", run.major, "data", dataDir)
	return nil
}

// launch starts the postmaster and the goroutines that watch it; they end
// with it.
//
// It gets no parent-death signal: that would fire when the thread that
// started it ends, not the process, and a database must not depend on either.
// It gets a session of its own, so that Ctrl-C in a terminal reaches the
// controller alone, which stops the database last.
func (s *Server) launch(ctx context.Context, who account, run binaries, dataDir string) error {
	logFile, err := openLog(s.logPath)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }() // the child has its own
	info, err := logFile.Stat()
	if err != nil {
		return fmt.Errorf("look at server log: %w", err)
	}
	s.logFrom = info.Size()

	args := []string{"-D", dataDir}
	settings := serverSettings(s.socket, s.cfg.Settings)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	s.cmd = who.command(context.WithoutCancel(ctx), dataDir, run.path("postgres"), args...)
	s.cmd.SysProcAttr.Setsid = true
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", s.cmd.Path, err)
	}
	go func() {
		defer close(s.done)
		err := s.cmd.Wait()
		select {
		case <-s.stopping:
		default:
			s.err = fmt.Errorf("the built-in PostgreSQL ended (%s), its log says: %s",
				ending(s.cmd, err), readLog(s.logPath, s.logFrom))
		}
	}()
	go func() {
		defer close(s.followed)
		if s.cfg.Log.Enabled(ctx, slog.LevelDebug) {
			followLog(s.logPath, s.logFrom, s.cfg.Log.With("component", "postgresql"), s.done)
		}
	}()
	return nil
}

// serverSettings are given on the command line, where nothing left in a
// configuration file can contradict them.
func serverSettings(socket string, more map[string]string) map[string]string {
	settings := map[string]string{
		"listen_addresses":        "",
		"port":                    "5432", // names the socket, opens nothing
		"unix_socket_directories": `"` + strings.ReplaceAll(socket, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"cluster_name":            "fairlead",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"log_checkpoints":         "off",
		// Values of rows and statements have no place in a log.
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "panic",
	}
	maps.Copy(settings, more)
	return settings
}

// dsn is how to connect to a database through the socket. Errors of our own
// statements are ours to log, not the server's.
func dsn(socket, name string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	return fmt.Sprintf("host='%s' port=5432 user=%s database=%s options='-c log_min_messages=log'",
		quote.Replace(socket), superuser, name)
}

// waitReady waits until the server takes connections and has the controller's
// database.
func (s *Server) waitReady(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	patience := time.NewTicker(slowStart)
	defer patience.Stop()
	for {
		err := createDatabase(ctx, dsn(s.socket, "postgres"))
		if err == nil || !notYet(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-patience.C:
			s.cfg.Log.InfoContext(ctx, "PostgreSQL is still starting", "last", err)
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL to answer, last: %w: %w", err, context.Cause(ctx))
		}
	}
}

// notYet reports whether a server that is starting may give this error: no
// socket yet, or 57P03, cannot_connect_now.
func notYet(err error) bool {
	var answer *pgconn.PgError
	return !errors.As(err, &answer) || answer.Code == "57P03"
}

func createDatabase(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE DATABASE `+database)
	return err
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

// ending describes how a process ended.
func ending(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}
