package system_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// postgresql is a PostgreSQL server outside of the controller, as an
// administrator may run one.
type postgresql struct {
	programs string
	dir      string
	account  *syscall.Credential
}

// newPostgreSQL makes and starts a server that listens in its own folder only.
func newPostgreSQL(t testing.TB) *postgresql {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatal("this test needs PostgreSQL's programs in /usr/lib/postgresql: scripts/ensure-postgres.sh installs them")
	}
	// PostgreSQL refuses to run as root; the package made this account for it.
	who, err := user.Lookup("postgres")
	must(t, err)
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	must(t, err)
	p := &postgresql{
		programs: found[len(found)-1], dir: tempDir(t),
		account: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	must(t, os.Chown(p.dir, int(uid), int(gid)))
	p.run(t, "initdb", "--auth=trust", "--no-sync", "--pgdata", p.data())
	p.start(t)
	t.Cleanup(func() { p.stop(t) })
	return p
}

func (p *postgresql) data() string { return filepath.Join(p.dir, "data") }

func (p *postgresql) url() string { return "host=" + p.dir + " user=postgres dbname=postgres" }

func (p *postgresql) start(t testing.TB) {
	t.Helper()
	p.run(t, "pg_ctl", "start", "--wait", "--silent", "--pgdata", p.data(), "--log", filepath.Join(p.dir, "log"),
		"--options", "-c listen_addresses='' -c fsync=off -k "+p.dir)
}

// stop ends the server as its administrator does: no connection survives.
func (p *postgresql) stop(t testing.TB) {
	t.Helper()
	p.run(t, "pg_ctl", "stop", "--wait", "--silent", "--mode=fast", "--pgdata", p.data())
}

// query runs SQL and returns what it answers.
func (p *postgresql) query(t testing.TB, sql string) string {
	t.Helper()
	return p.run(t, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql, p.url())
}

func (p *postgresql) run(t testing.TB, program string, args ...string) string {
	t.Helper()
	command := exec.Command(filepath.Join(p.programs, program), args...)
	command.Dir = p.dir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.account}
	// A file and not a pipe: the server would hold the pipe open.
	output, err := os.CreateTemp(t.TempDir(), program)
	must(t, err)
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	failed := command.Run()
	said, err := os.ReadFile(output.Name())
	must(t, err)
	if failed != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), failed, said)
	}
	return strings.TrimSpace(string(said))
}
