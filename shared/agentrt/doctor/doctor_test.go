package doctor_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/agentrt/doctor"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload/workloadtest"
)

// examine returns the doctor's words, one line a finding, and its verdict.
func examine(t *testing.T, dir string, change func(*doctor.Config)) (lines []string, healthy bool) {
	t.Helper()
	c := doctor.Config{
		StateDir: dir, Again: "INSTALL", EngineFix: "START IT",
		Engine: func(context.Context) (string, error) { return "engine 1", nil },
	}
	if change != nil {
		change(&c)
	}
	var out strings.Builder
	healthy, err := doctor.Print(t.Context(), c, &out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n"), healthy
}

// enrolled returns the folder of an agent that was enrolled at a controller,
// and is stopped.
func enrolled(t *testing.T, controller *agentrttest.Controller) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	controller.WriteEnrolment(t, dir, rand.Text())
	stop := run(t, dir)
	controller.Welcome(t)
	stop()
	return dir
}

// run runs an agent until stop is called.
func run(t *testing.T, dir string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = agentrt.New(agentrt.Config{
			StateDir: dir, Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}), NodeType: "docker",
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}).Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

func has(lines []string, pattern string) bool {
	return slices.ContainsFunc(lines, regexp.MustCompile(pattern).MatchString)
}

func TestAHealthyAgent(t *testing.T) {
	controller := agentrttest.Start(t)
	dir := enrolled(t, controller)
	run(t, dir)
	controller.Welcome(t)
	var lines []string
	deadline := time.Now().Add(agentrttest.Patience)
	for healthy := false; !healthy; { // the first heartbeat may be on its way
		if lines, healthy = examine(t, dir, nil); time.Now().After(deadline) {
			t.Fatalf("not healthy:\n%s", strings.Join(lines, "\n"))
		}
	}
	for _, want := range []string{
		`^ok    folder  `, `^ok    identity .*agent agent-1 of node "one", controller 127\.0\.0\.1:\d+, trusts 1 root`, `^ok    certificate .*good until`,
		`^ok    tcp `, `^ok    tls .*TLS 1\.3, h2`, `^ok    grpc `, `^ok    agent .*connected`, `^ok    engine .*engine 1`,
	} {
		if !has(lines, want) {
			t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestWhatIsWrongIsSaidWithItsFix(t *testing.T) {
	controller := agentrttest.Start(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	proxy := httptest.NewUnstartedServer(http.NotFoundHandler())
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := silent.Addr().String()
	_ = silent.Close()
	redirect := func(address string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, "identity", "agent.json")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, strings.Replace(string(text), controller.Addr(), address, 1))
		}
	}
	for name, c := range map[string]struct {
		spoil  func(t *testing.T, dir string)
		change func(*doctor.Config)
		want   []string
		not    string
	}{
		"not running": {want: []string{`^ok    grpc`, `^FAIL  agent .*does not run`}},
		"why it has no session": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				write(t, filepath.Join(dir, "trouble"), "2026-01-02T03:04:05Z\nthe dog\x1b[2J ate it\n")
			},
			want: []string{`^FAIL  agent .*at 2026-01-02T03:04:05Z it said: the dog \[2J ate it`},
		},
		"a folder that others can read": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{`^FAIL  folder .*read by others \(mode 0755\)`, `-> chmod 700`},
		},
		"no folder":      {spoil: func(t *testing.T, dir string) { t.Helper(); remove(t, dir) }, want: []string{`^FAIL  folder .*is not there`, `INSTALL`}, not: `^(ok  |FAIL)  tls`},
		"never enrolled": {spoil: func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, "identity")) }, want: []string{`^FAIL  identity .*not enrolled`, `-> INSTALL`}, not: `^(ok  |FAIL)  tls`},
		"a broken file":  {spoil: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "identity", "key.pem"), "x") }, want: []string{`^FAIL  identity .*can't be read`}, not: `^(ok  |FAIL)  tls`},
		"revoked":        {spoil: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "revoked"), "by hand") }, want: []string{`^FAIL  identity .*revoked.*\(by hand\)`, `INSTALL`}, not: `^(ok  |FAIL)  tls`},
		"deleted": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				write(t, filepath.Join(dir, "deleted"), `{"why": "its node was deleted"}`)
				write(t, filepath.Join(dir, "revoked"), "by hand")
			},
			want: []string{`^FAIL  identity .*this agent's node was deleted; it will never connect again`, `-> If this machine is to be a node again: INSTALL`},
			not:  `revoked|^(ok  |FAIL)  tls`,
		},
		"a refused token": {spoil: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "enrol-error"), "token used") }, want: []string{`^FAIL  enrolment .*token used`}},
		"about to enrol": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				remove(t, filepath.Join(dir, "identity"))
				controller.WriteEnrolment(t, dir, "hush")
			},
			want: []string{`^ok    identity .*not enrolled yet`, `^ok    tls`},
			not:  "hush",
		},
		"the API's port": {spoil: redirect(plain.Listener.Addr().String()), want: []string{`^ok    tcp`, `^FAIL  tls .*a web server without TLS`, `FAIRLEAD_AGENT_PUBLIC_ADDR`}},
		"a proxy":        {spoil: redirect(proxy.Listener.Addr().String()), want: []string{`^FAIL  tls .*no HTTP/2.*issued by "O=Acme Co"`, `-> Agents need TCP passthrough.*docs/operating.md`}},
		"nobody":         {spoil: redirect(nobody), want: []string{`^FAIL  tcp .*nothing listens`}, not: `^(ok  |FAIL)  tls`},
		"no name":        {spoil: redirect("controller.invalid:8443"), want: []string{`^FAIL  name .*"controller.invalid"`}, not: `^(ok  |FAIL)  tcp`},
		"another root": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				other, err := pki.NewAuthority(time.Now())
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "identity", "trust.pem"), string(pki.EncodeCertificates(other.Root.Raw)))
			},
			want: []string{`^FAIL  tls .*whose root this agent does not trust`},
		},
		"a clock that is ahead": {
			change: func(c *doctor.Config) { c.Now = func() time.Time { return time.Now().Add(1000 * 24 * time.Hour) } },
			want:   []string{`^ok    certificate .*expired`, `^FAIL  tls .*this machine's clock says`, `-> Set this machine's clock`},
		},
		"a small lead of the clock": {
			change: func(c *doctor.Config) { c.Now = func() time.Time { return time.Now().Add(30 * time.Minute) } },
			want:   []string{`^FAIL  clock .*30m0s apart`},
		},
		"no engine": {
			change: func(c *doctor.Config) {
				c.Engine = func(context.Context) (string, error) { return "", errors.New("no answer") }
			},
			want: []string{`^FAIL  engine .*no answer`, `-> START IT`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := enrolled(t, controller)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			lines, healthy := examine(t, dir, c.change)
			if healthy {
				t.Error("all is said to be well")
			}
			for _, want := range c.want {
				if !has(lines, want) {
					t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
				}
			}
			if c.not != "" && has(lines, c.not) {
				t.Errorf("%q is in\n%s", c.not, strings.Join(lines, "\n"))
			}
		})
	}
}

// TestTheDoctorDisturbsNobody has an agent that runs while it is examined.
func TestTheDoctorDisturbsNobody(t *testing.T) {
	controller := agentrttest.Start(t)
	dir := enrolled(t, controller)
	run(t, dir)
	session := controller.Welcome(t)
	_, _ = examine(t, dir, nil)
	quiet := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(quiet) })
	controller.NoSession(t, quiet)
	session.Trust(t, controller.Authority.Root) // it still listens
}

// TestFailingToPrintIsAnError has a reader that is gone.
func TestFailingToPrintIsAnError(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	if _, err := doctor.Print(t.Context(), doctor.Config{StateDir: "/nonexistent"}, w); err == nil {
		t.Error("nobody read it, and nobody was told")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
