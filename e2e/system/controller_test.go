package system_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

const (
	adminEmail    = "admin@example.org"
	adminPassword = "correct horse battery staple"

	startPatience  = time.Minute
	nodePatience   = time.Minute
	deployPatience = 90 * time.Second
)

// controller is a controller process with a state folder of its own.
type controller struct {
	*client.Client
	url   string
	state string
	// program is the controller of the version under test, unless it is another.
	program string
	args    []string
	env     []string
	*process
}

// newController starts a controller, with its built-in PostgreSQL unless env
// has a DATABASE_URL. It ends with the test.
func newController(t testing.TB, env ...string) *controller {
	t.Helper()
	state := tempDir(t)
	http, agents := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := &controller{
		url: "http://" + http, state: state, program: filepath.Join(rig.bin, "controller"),
		args: []string{
			"serve", "--state-dir", filepath.Join(state, "state"), "--artifact-dir", filepath.Join(rig.bin, "artifacts"),
			"--http-addr", http, "--public-url", "http://" + http, "--agent-addr", agents, "--agent-public-addr", agents,
		},
		env: append(env, "FAIRLEAD_ADMIN_EMAIL="+adminEmail, "FAIRLEAD_ADMIN_PASSWORD="+adminPassword),
	}
	c.start(t)
	t.Cleanup(func() {
		c.stop(t)
		if t.Failed() {
			t.Logf("the controller's last lines:\n%s", c.tail())
		}
	})
	return c
}

// start runs the controller, again too, and logs in.
func (c *controller) start(t testing.TB) {
	t.Helper()
	c.process = start(t, filepath.Join(c.state, "log"), c.env, c.program, c.args...)
	c.Client = client.New(c.url)
	await(t, startPatience, "the controller to be ready", func() (bool, string, error) {
		if c.ended() {
			return false, "", fmt.Errorf("it ended (%s):\n%s", c.command.ProcessState, c.tail())
		}
		err := c.Call(t.Context(), http.MethodGet, "/readyz", nil, nil)
		return err == nil, fmt.Sprint(err), nil
	})
	if err := c.Login(t.Context(), adminEmail, adminPassword); err != nil {
		t.Fatal(err)
	}
}

// newTeam makes a team with the registry that has the sample.
func (c *controller) newTeam(t testing.TB) *team {
	t.Helper()
	made, err := c.CreateTeam(t.Context(), unique())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := made.CreateRegistry(t.Context(), "local", rig.registry, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return &team{made, registry}
}

// team is a team with a registry.
type team struct {
	*client.Team
	registry string
}

// unique returns a name that nobody else on this machine has.
func unique() string { return "e2e" + strings.ToLower(rand.Text()[:8]) }

// tempDir is a folder that PostgreSQL's and the agents' accounts can reach,
// unlike those of testing.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fairlead-e2e-") //nolint:usetesting // its folders are closed to PostgreSQL's account
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// freePort returns a port that nobody listens on, below those that outgoing
// connections take.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		b := make([]byte, 2)
		_, _ = rand.Read(b)
		port := 20000 + (int(b[0])<<8+int(b[1]))%12000
		listener, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

// await is client.Await, which ends the test when it fails.
func await(t testing.TB, patience time.Duration, what string, done func() (ok bool, seen string, err error)) {
	t.Helper()
	if err := client.Await(context.WithoutCancel(t.Context()), patience, what, done); err != nil {
		t.Fatal(err)
	}
}

// must is for calls that have to succeed.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
