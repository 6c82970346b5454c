package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// database is the one the controller lives in.
const database = "fairlead"

// slowStart is how often a start that takes long, as recovery after a crash
// may, says that it is still going on.
const slowStart = 10 * time.Second

// launch starts the postmaster and the goroutines that watch it; they end
// with it.
//
// It gets no parent-death signal: that would fire when the thread that
// started it ends, not the process, and a database must not depend on either.
// It gets a session of its own, so that Ctrl-C in a terminal reaches the
// controller alone, which stops the database last.
func (s *Server) launch(ctx context.Context, who account, run binaries, data folder) error {
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

	args := []string{"-D", data.name()}
	settings := serverSettings(s.socket, s.cfg.Settings)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	s.cmd = who.command(context.WithoutCancel(ctx), data, run.path("postgres"), args...)
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

// ending describes how a process ended.
func ending(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}
