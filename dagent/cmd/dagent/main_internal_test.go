package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/app"
	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/agentrt/program"
)

func noEnv(string) string { return "" }

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"version"}, program.OK, "dagent ", ""},
		{[]string{"help"}, program.OK, "usage: dagent", ""},
		{[]string{"dance"}, program.Usage, "", `unknown command "dance"`},
		{[]string{"run", "now"}, program.Usage, "", `"now" is not understood`},
		{[]string{"--no-such-flag"}, program.Usage, "", "no-such-flag"},
		{[]string{"run", "--help"}, program.OK, "", "state-dir"},
		{[]string{"run", "--log-level", "loud"}, program.Usage, "", `log level "loud"`},
		{[]string{"run", "--allow-host-paths", "srv"}, program.Usage, "", `"srv" must be absolute`},
		{[]string{"run", "--allow-capabilities", "NET_ADMIN,ROOT"}, program.Usage, "", `"ROOT" is not a capability`},
		{[]string{"run", "--allow-host-network", "maybe"}, program.Usage, "", `"maybe" is neither true nor false`},
		{[]string{"run", "--keep-releases", "-1"}, program.Usage, "", `"-1" is not a number of releases`},
		{[]string{"run", "--min-free-disk", "much"}, program.Usage, "", `"much" is not a size`},
		{[]string{"healthcheck", "--state-dir", "/nonexistent"}, program.Failed, "", "not connected"},
		{[]string{"doctor", "--state-dir", "/nonexistent"}, program.Failed, "FAIL  folder       /nonexistent is not there", ""},
		{[]string{"run", "--state-dir", t.TempDir()}, program.NotEnrolled, "", "install script"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), c.args, noEnv, &stdout, &stderr)
			if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("code %d\nstdout %s\nstderr %s", code, &stdout, &stderr)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	env := map[string]string{
		"FAIRLEAD_STATE_DIR":         "/from/script",
		"DOCKER_HOST":                "tcp://engine:2375",
		"DAGENT_ALLOW_HOST_PATHS":    "/srv:/data/",
		"DAGENT_ALLOW_HOST_NETWORK":  "true",
		"DAGENT_ALLOW_LOCAL_STORAGE": "1",
		"DAGENT_ALLOW_CAPABILITIES":  "NET_ADMIN, cap_sys_time",
		"DAGENT_SECRETS_DIR":         "/run/secrets-of-agent",
		"DAGENT_KEEP_RELEASES":       "5",
		"DAGENT_MIN_FREE_DISK":       "500MiB",
		"DAGENT_ENGINE_DISK":         "/disk",
		"DAGENT_LOG_FORMAT":          "text",
		"DAGENT_LOG_LEVEL":           "debug",
	}
	usual := app.Images{KeepReleases: 3, MinFreeDisk: 1 << 30}
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want settings
	}{
		{"nothing said", nil, nil, settings{app.Config{StateDir: defaultStateDir, Images: usual}, "json", "info"}},
		{"environment", nil, env, settings{app.Config{
			StateDir: "/from/script", DockerHost: "tcp://engine:2375", SecretsDir: "/run/secrets-of-agent",
			Images: app.Images{KeepReleases: 5, MinFreeDisk: 500 << 20, EngineDisk: "/disk"},
			Policy: docker.Policy{HostPaths: []string{"/srv", "/data"}, HostNetwork: true, LocalStorage: true, Capabilities: []string{"NET_ADMIN", "cap_sys_time"}},
		}, "text", "debug"}},
		{"flags win", []string{"--state-dir", "/s", "--docker-host", "unix:///d", "--secrets-dir=", "--allow-host-paths=", "--allow-host-network=false", "--allow-local-storage=", "--allow-capabilities=", "--keep-releases=0", "--min-free-disk=0", "--engine-disk=", "--log-level", "warn"}, env,
			settings{app.Config{StateDir: "/s", DockerHost: "unix:///d"}, "text", "warn"}},
		{"the agent's own name wins", nil, map[string]string{"DAGENT_STATE_DIR": "/own", "FAIRLEAD_STATE_DIR": "/shared"},
			settings{app.Config{StateDir: "/own", Images: usual}, "json", "info"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			got, err := parse("run", c.args, func(k string) string { return c.env[k] }, &stderr)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v\n%s", got, err, c.want, &stderr)
			}
		})
	}
}

func TestHealthcheck(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		until time.Time
		code  int
	}{
		{time.Now().Add(time.Hour), program.OK},
		{time.Now().Add(-time.Second), program.Failed},
	} {
		if err := os.WriteFile(filepath.Join(dir, "session"), []byte(c.until.Format(time.RFC3339Nano)), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"healthcheck", "--state-dir", dir}, noEnv, &stdout, &stderr); code != c.code {
			t.Errorf("until %v: code %d, %s%s", c.until, code, &stdout, &stderr)
		}
	}
}
