package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/config"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	c, err := config.Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != ":8080" || c.AgentAddr != ":8443" || c.HTTPTLS != "off" || c.StateDir != "/var/lib/fairlead" ||
		c.PublicURL != "http://localhost:8080" || c.StopTimeout != 20*time.Second {
		t.Errorf("defaults are %+v", c)
	}
	if c.AgentPublicAddr != "localhost:8443" {
		t.Errorf("agents are told %q, want the public URL's host and the agent port", c.AgentPublicAddr)
	}
}

func TestAReplicaIsCalledByItsAddress(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ                []string
		address, called, drain string
	}{
		"any address":   {[]string{"FAIRLEAD_AGENT_ADDR=:7443"}, host + ":7443", host + ":7443", "5s"},
		"one address":   {[]string{"FAIRLEAD_AGENT_ADDR=10.0.0.7:7443", "FAIRLEAD_DRAIN=0"}, "10.0.0.7:7443", "10.0.0.7:7443", "0s"},
		"all of IPv6":   {[]string{"FAIRLEAD_AGENT_ADDR=[::]:7443"}, host + ":7443", host + ":7443", "5s"},
		"told to be so": {[]string{"FAIRLEAD_REPLICA_ADDR=a.example:1", "FAIRLEAD_REPLICA_NAME=a"}, "a.example:1", "a", "5s"},
	} {
		got, err := config.Load(nil, c.environ)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.ReplicaAddr != c.address || got.ReplicaName != c.called || got.Drain.String() != c.drain {
			t.Errorf("%s: %s at %s, drains for %s", name, got.ReplicaName, got.ReplicaAddr, got.Drain)
		}
	}
}

func TestFlagOverEnvironmentOverFile(t *testing.T) {
	file := write(t, "http-addr: ':1'\nagent-addr: ':1'\nlog-level: debug\n")
	c, err := config.Load(
		[]string{"--config", file, "--http-addr", ":3"},
		[]string{"FAIRLEAD_HTTP_ADDR=:2", "FAIRLEAD_AGENT_ADDR=:2", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != ":3" || c.AgentAddr != ":2" || c.LogLevel != "debug" {
		t.Errorf("http %s, agent %s, level %s; want :3 (flag), :2 (environment), debug (file)", c.HTTPAddr, c.AgentAddr, c.LogLevel)
	}
}

func TestSecretsComeFromFilesAndStayHidden(t *testing.T) {
	file := write(t, "postgres://u:hunter2@h/db\n")
	c, err := config.Load(nil, []string{"DATABASE_URL_FILE=" + file})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.DatabaseURL.Reveal(); got != "postgres://u:hunter2@h/db" {
		t.Errorf("DATABASE_URL = %q: the line end must go, the rest must stay", got)
	}
	if shown := c.DatabaseURL.String(); shown != "***" {
		t.Errorf("it prints as %q", shown)
	}
}

func TestProblems(t *testing.T) {
	cases := map[string]struct {
		args, environ []string
		want          []string
	}{
		"all at once": {
			environ: []string{"FAIRLEAD_HTTP_ADDR=8080", "FAIRLEAD_LOG_LEVEL=loud", "FAIRLEAD_STOP_TIMEOUT=-1s"},
			want:    []string{"FAIRLEAD_HTTP_ADDR", "FAIRLEAD_LOG_LEVEL", "FAIRLEAD_STOP_TIMEOUT"},
		},
		"unknown variable": {environ: []string{"FAIRLEAD_HTPP_ADDR=:1"}, want: []string{"FAIRLEAD_HTPP_ADDR is not a setting"}},
		"unknown flag":     {args: []string{"--http-adr", ":1"}, want: []string{"unknown flag: --http-adr"}},
		"unknown file key": {args: []string{"--config", write(t, "http_addr: ':1'")}, want: []string{"http_addr is not a setting"}},
		"stray argument":   {args: []string{"now"}, want: []string{`unexpected argument "now"`}},
		"secret given twice": {
			environ: []string{"FAIRLEAD_ADMIN_PASSWORD=topsecret", "FAIRLEAD_ADMIN_PASSWORD_FILE=/x", "FAIRLEAD_ADMIN_EMAIL=a@b.co"},
			want:    []string{"both FAIRLEAD_ADMIN_PASSWORD and FAIRLEAD_ADMIN_PASSWORD_FILE"},
		},
		"missing secret file": {environ: []string{"DATABASE_URL_FILE=/does/not/exist"}, want: []string{"/does/not/exist"}},
		"half of a pair":      {environ: []string{"FAIRLEAD_ADMIN_EMAIL=a@b.co"}, want: []string{"go together"}},
		"url with a query":    {environ: []string{"FAIRLEAD_PUBLIC_URL=https://h/?x"}, want: []string{"FAIRLEAD_PUBLIC_URL"}},
		"half a code signer":  {environ: []string{"FAIRLEAD_CODE_SIGNING_CERT=/a.pem"}, want: []string{"FAIRLEAD_CODE_SIGNING_KEY"}},
		"tls without files":   {environ: []string{"FAIRLEAD_HTTP_TLS=files"}, want: []string{"FAIRLEAD_HTTP_TLS_CERT"}},
		"missing config file": {environ: []string{"FAIRLEAD_CONFIG=/does/not/exist"}, want: []string{"/does/not/exist"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(c.args, c.environ)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Error("the error shows a secret")
			}
		})
	}
}

func TestUsageNamesEverySetting(t *testing.T) {
	for _, want := range []string{"--http-addr", "FAIRLEAD_STATE_DIR", "DATABASE_URL_FILE", "--admin-password-file"} {
		if !strings.Contains(config.Usage(), want) {
			t.Errorf("usage lacks %s", want)
		}
	}
}

func TestProfilesAreForThisMachineAlone(t *testing.T) {
	c, err := config.Load(nil, []string{"FAIRLEAD_DEBUG_ADDR=127.0.0.1:6060"})
	if err != nil || c.DebugAddr != "127.0.0.1:6060" {
		t.Errorf("%q, %v", c.DebugAddr, err)
	}
	if _, err := config.Load(nil, []string{"FAIRLEAD_DEBUG_ADDR=:6060"}); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_DEBUG_ADDR") {
		t.Errorf("profiles for everybody: %v", err)
	}
}

func TestSettingsThatGoTogether(t *testing.T) {
	const acme, smtp = "FAIRLEAD_HTTP_TLS=acme", "FAIRLEAD_SMTP_ADDR=mail.example.com:587"
	for want, environ := range map[string][]string{
		"FAIRLEAD_PUBLIC_URL with https":         {acme},
		"https and a name":                       {acme, "FAIRLEAD_PUBLIC_URL=https://192.0.2.1"},
		"FAIRLEAD_ACME_DIRECTORY":                {acme, "FAIRLEAD_PUBLIC_URL=https://fairlead.example.com", "FAIRLEAD_ACME_DIRECTORY=http://ca.example.com"},
		"need FAIRLEAD_HTTP_TLS=acme":            {"FAIRLEAD_ACME_EMAIL=a@b.co"},
		"needs FAIRLEAD_SMTP_FROM":               {smtp},
		"need FAIRLEAD_SMTP_ADDR":                {"FAIRLEAD_SMTP_FROM=a@b.co"},
		"set both or neither":                    {smtp, "FAIRLEAD_SMTP_FROM=a@b.co", "FAIRLEAD_SMTP_USERNAME=u"},
		"would send the password readably":       {smtp, "FAIRLEAD_SMTP_FROM=a@b.co", "FAIRLEAD_SMTP_USERNAME=u", "FAIRLEAD_SMTP_PASSWORD=p", "FAIRLEAD_SMTP_TLS=off"},
		"both FAIRLEAD_SMTP_PASSWORD and FAIRLE": {"FAIRLEAD_SMTP_PASSWORD=p", "FAIRLEAD_SMTP_PASSWORD_FILE=/x"},
	} {
		if _, err := config.Load(nil, environ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", environ, err, want)
		}
	}
	for _, environ := range [][]string{
		{acme, "FAIRLEAD_PUBLIC_URL=https://fairlead.example.com"},
		{smtp, "FAIRLEAD_SMTP_FROM=Fairlead <a@b.co>"},
		{"FAIRLEAD_SMTP_ADDR=127.0.0.1:25", "FAIRLEAD_SMTP_FROM=a@b.co", "FAIRLEAD_SMTP_USERNAME=u", "FAIRLEAD_SMTP_PASSWORD=p", "FAIRLEAD_SMTP_TLS=off"},
	} {
		if _, err := config.Load(nil, environ); err != nil {
			t.Errorf("%v: %v", environ, err)
		}
	}
}
