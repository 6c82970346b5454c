package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fairlead.dev/crane/internal/app"
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
		{[]string{"version"}, program.OK, "crane ", ""},
		{[]string{"help"}, program.OK, "usage: crane", ""},
		{[]string{"dance"}, program.Usage, "", `unknown command "dance"`},
		{[]string{"run", "now"}, program.Usage, "", `"now" is not understood`},
		{[]string{"--no-such-flag"}, program.Usage, "", "no-such-flag"},
		{[]string{"run", "--help"}, program.OK, "", "state-dir"},
		{[]string{"run", "--state-secret", "s"}, program.Usage, "", "state-secret needs own-namespace"},
		{[]string{"run", "--lease", "l"}, program.Usage, "", "lease needs own-namespace"},
		{[]string{"run", "--log-level", "loud"}, program.Usage, "", `log level "loud"`},
		{[]string{"run", "--kubeconfig", "/nonexistent"}, program.Failed, "", "find out how to reach the cluster"},
		{[]string{"healthcheck", "--state-dir", "/nonexistent"}, program.Failed, "", "not connected"},
		{[]string{"doctor", "--state-dir", "/nonexistent"}, program.Failed, "FAIL  folder       /nonexistent is not there", ""},
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
		"FAIRLEAD_STATE_DIR":   "/from/script",
		"KUBECONFIG":           "/kubeconfig",
		"CRANE_NAMESPACES":     "shop, blog",
		"CRANE_OWN_NAMESPACE":  "fairlead",
		"CRANE_STATE_SECRET":   "state",
		"CRANE_LEASE":          "crane",
		"CRANE_ENROLMENT_FILE": "/enrolment/enrol.json",
		"CRANE_LOG_FORMAT":     "text",
		"CRANE_LOG_LEVEL":      "debug",
	}
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want settings
	}{
		{"nothing said", nil, nil, settings{app.Config{StateDir: defaultStateDir, Namespaces: []string{}}, "json", "info"}},
		{"environment", nil, env, settings{app.Config{
			StateDir: "/from/script", Kubeconfig: "/kubeconfig", Namespaces: []string{"shop", "blog"},
			OwnNamespace: "fairlead", StateSecret: "state", Lease: "crane", EnrolmentFile: "/enrolment/enrol.json",
		}, "text", "debug"}},
		{"flags win", []string{"--state-dir", "/s", "--kubeconfig=", "--namespaces=", "--state-secret=", "--lease=", "--own-namespace=", "--enrolment-file=", "--log-level", "warn"}, env,
			settings{app.Config{StateDir: "/s", Namespaces: []string{}}, "text", "warn"}},
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
