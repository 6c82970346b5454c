package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is something that is started, stopped, and killed.
type program struct {
	name string
	path string
	args []string
	env  []string
	log  string

	command *exec.Cmd
	done    chan struct{}
	kills   int
}

// start starts the program, again too; its output is added to its log.
func (p *program) start(t testing.TB) {
	t.Helper()
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer output.Close()
	command, done := exec.Command(p.path, p.args...), make(chan struct{})
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, p.env...)
	command.Stdout, command.Stderr = output, output
	// When the tests are killed their programs are too. The kernel watches the
	// thread that started the program, so that one stays.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // the state says how it ended
			close(done)
		}
	}()
	must(t, <-started)
	p.command, p.done = command, done
}

func (p *program) running() bool {
	if p.command == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *program) signal(s syscall.Signal) {
	if p.running() {
		_ = p.command.Process.Signal(s)
	}
}

// kill ends the program as kill -9 does.
func (p *program) kill() {
	if p.running() {
		p.kills++
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// stop asks the program to end, and kills it when it does not.
func (p *program) stop(t testing.TB) {
	t.Helper()
	if !p.running() {
		return
	}
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		p.kill()
		t.Errorf("%s did not end when asked", p.name)
	}
}

// look returns what the program should never print.
func (p *program) look() []string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	var found []string
	for line := range bytes.Lines(content) {
		for _, never := range []string{"panic:", "panicked", "DATA RACE", "fatal error:"} {
			if bytes.Contains(line, []byte(never)) {
				found = append(found, p.name+": "+strings.TrimSpace(string(line)))
			}
		}
	}
	return found
}

// postgresql is a PostgreSQL server that survives kill -9.
type postgresql struct {
	programs string
	dir      string
	account  *syscall.Credential
}

func newPostgreSQL(t testing.TB, dir string) *postgresql {
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
		programs: found[len(found)-1], dir: filepath.Join(dir, "postgresql"),
		account: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	must(t, os.Mkdir(p.dir, 0o700))
	must(t, os.Chown(p.dir, int(uid), int(gid)))
	mustRun(t, p, "initdb", "--auth=trust", "--no-sync", "--pgdata", p.data())
	p.start(t)
	t.Cleanup(func() { _, _ = p.run("pg_ctl", "stop", "--silent", "--mode=immediate", "--pgdata", p.data()) })
	return p
}

func (p *postgresql) data() string { return filepath.Join(p.dir, "data") }

func (p *postgresql) url(database string) string {
	return "host=" + p.dir + " user=postgres dbname=" + database
}

// start starts the server; after a kill it may have to wait for what the dead
// one left to go.
func (p *postgresql) start(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(startPatience)
	for {
		// Process death is not a power cut: without fsync nothing is lost by it.
		said, err := p.run("pg_ctl", "start", "--wait", "--silent", "--pgdata", p.data(), "--log", filepath.Join(p.dir, "log"),
			"--options", "-c listen_addresses='' -c fsync=off -c max_connections=200 -k "+p.dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not start: %v\n%s", err, said)
		}
	}
}

// pid returns the process id of the server, 0 when there is none.
func (p *postgresql) pid() int {
	content, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return pid
}

// kill ends the server as kill -9 does.
func (p *postgresql) kill() {
	if pid := p.pid(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// freeze stops every process of the server, or lets them go on.
func (p *postgresql) freeze(on bool) {
	s := syscall.SIGCONT
	if on {
		s = syscall.SIGSTOP
	}
	pid := p.pid()
	if pid == 0 {
		return
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, s)
		}
	}
	_ = syscall.Kill(pid, s)
}

// query runs SQL and returns what it answers, unaligned.
func (p *postgresql) query(database, sql string) (string, error) {
	return p.run("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql, p.url(database))
}

func (p *postgresql) run(program string, args ...string) (string, error) {
	command := exec.Command(filepath.Join(p.programs, program), args...)
	command.Dir = "/"
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.account}
	// A file and not a pipe: the server would hold the pipe open.
	output, err := os.CreateTemp("", "chaos-"+program)
	if err != nil {
		return "", err
	}
	defer os.Remove(output.Name())
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	failed := command.Run()
	said, err := os.ReadFile(output.Name())
	return strings.TrimSpace(string(said)), errors.Join(failed, err)
}

func mustRun(t testing.TB, p *postgresql, program string, args ...string) string {
	t.Helper()
	said, err := p.run(program, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, said)
	}
	return said
}

// freeAddress returns a loopback address that nobody listens on, below those
// that outgoing connections take.
func freeAddress(t testing.TB) string {
	t.Helper()
	for port := 21000 + os.Getpid()%8000; port < 32000; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			if taken[port] {
				continue
			}
			taken[port] = true
			return listener.Addr().String()
		}
	}
	t.Fatal("no free port found")
	return ""
}

var taken = map[int]bool{}

// build compiles a program of this repository into dir.
func build(t testing.TB, dir, name, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	args := []string{"build", "-o", path}
	if os.Getenv("CHAOS_RACE") != "" {
		args = append(args, "-race")
	}
	command := exec.CommandContext(t.Context(), "go", append(args, pkg)...)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, said)
	}
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
