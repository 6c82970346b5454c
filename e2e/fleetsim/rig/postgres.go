package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgreSQL is a server with the settings of an installation, durable writes
// included, and what is needed to look into it: pg_stat_statements and the
// times of commits.
type PostgreSQL struct {
	*Process
	more    []string
	dir     string
	program string
	account *syscall.Credential
}

const postgresPatience = 2 * time.Minute

// NewPostgreSQL makes a server in a folder and starts it. It needs root, since
// PostgreSQL refuses to run as that, and the package's account "postgres".
//
// More are settings, as in "auto_explain.log_min_duration=20".
func NewPostgreSQL(ctx context.Context, dir string, more ...string) (*PostgreSQL, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return nil, errors.New("no PostgreSQL in /usr/lib/postgresql: scripts/ensure-postgres.sh installs it")
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("find PostgreSQL's account: %w", err)
	}
	uid, uidErr := strconv.ParseUint(who.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(who.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	p := &PostgreSQL{
		more: more, dir: dir, program: filepath.Join(found[len(found)-1], "postgres"),
		account: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(filepath.Dir(p.program), "initdb"), "--auth=trust", "--no-sync", "--pgdata", p.data())
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: p.account}
	initdb.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a database: %w\n%s", err, out)
	}
	return p, p.Start(ctx)
}

func (p *PostgreSQL) data() string { return filepath.Join(p.dir, "data") }

// URL is what DATABASE_URL is to be.
func (p *PostgreSQL) URL() string { return "host=" + p.dir + " user=postgres dbname=postgres" }

// Log is the file that the server writes its log to.
func (p *PostgreSQL) Log() string { return p.dir + ".log" }

// Start starts the server, again too, and waits until it answers.
func (p *PostgreSQL) Start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresPatience)
	defer cancel()
	args := []string{
		"-D", p.data(), "-k", p.dir, "-c", "listen_addresses=", "-c", "track_commit_timestamp=on", "-c", "max_connections=200",
		"-c", "shared_preload_libraries=pg_stat_statements,auto_explain", "-c", "log_error_verbosity=terse",
	}
	for _, setting := range p.more {
		args = append(args, "-c", setting)
	}
	p.Process, err = Run(Spec{Program: p.program, Log: p.Log(), Account: p.account, Args: args})
	if err != nil {
		return err
	}
	return p.wait(ctx, "PostgreSQL to answer", func() error {
		return p.Do(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "create extension if not exists pg_stat_statements")
			return err
		})
	})
}

// Do runs something on a connection of its own.
func (p *PostgreSQL) Do(ctx context.Context, do func(c *pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, p.URL()+" application_name=fleetsim")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return do(c)
}

// Statements returns how many statements the server has carried out so far,
// but for those that look into it.
func (p *PostgreSQL) Statements(ctx context.Context) (n int64, err error) {
	err = p.Do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "select coalesce(sum(calls), 0)::bigint from pg_stat_statements where query not like '%pg_stat_statements%'").Scan(&n)
	})
	return n, err
}

// Top returns the statements that took the most time, for people.
func (p *PostgreSQL) Top(ctx context.Context, n int) (lines []string, err error) {
	err = p.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `select calls, round(total_exec_time)::bigint, rows, regexp_replace(left(query, 160), '\s+', ' ', 'g')
			from pg_stat_statements where query not like '%pg_stat_statements%' order by total_exec_time desc limit $1`, n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var calls, ms, count int64
			var query string
			if err := rows.Scan(&calls, &ms, &count, &query); err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%8d calls %8d ms %9d rows  %s", calls, ms, count, query))
		}
		return rows.Err()
	})
	return lines, err
}

// Forget resets what Statements and Top count.
func (p *PostgreSQL) Forget(ctx context.Context) error {
	return p.Do(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "select pg_stat_statements_reset()")
		return err
	})
}

// CPU is the processor time that the server's processes have taken so far; that
// of connections that have ended is the postmaster's.
func (p *PostgreSQL) CPU() (all time.Duration, err error) {
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range processes {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		id := filepath.Base(filepath.Dir(file))
		of := []string{fields[11], fields[12]}
		switch strconv.Itoa(p.PID()) {
		case id:
			of = append(of, fields[13], fields[14]) // its children that have ended
		case fields[1]:
		default:
			continue
		}
		for _, field := range of {
			n, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("read the processor time of PostgreSQL: %w", err)
			}
			all += time.Duration(n) * time.Second / ticks
		}
	}
	return all, nil
}
