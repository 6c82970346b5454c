package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritesTheSameArchiveTwice(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "app")
	if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func(output string) []byte {
		t.Helper()
		output = filepath.Join(dir, output)
		err := run(t.Context(), []string{
			"--binary", binary, "--platform", "linux/arm64", "--tag", "app:1.0.0", "--output", output,
			"--label", "org.opencontainers.image.version=1.0.0", "--env", "A=b", "--port", "80", "--dir", "/data",
			"--healthcheck", "/app", "--healthcheck", "healthcheck", "--healthcheck-interval", "1s",
		}, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	if !bytes.Equal(build("first.tar"), build("second.tar")) {
		t.Error("two runs wrote different archives")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tar.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestBadCommandLineIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no binary":     {[]string{"--tag", "a:1", "--push"}, "--binary"},
		"no tag":        {[]string{"--binary", "x", "--push"}, "--tag"},
		"no outcome":    {[]string{"--binary", "x", "--tag", "a:1"}, "--output"},
		"stray word":    {[]string{"--binary", "x", "--tag", "a:1", "--push", "stray"}, "stray"},
		"label":         {[]string{"--label", "x"}, "key=value"},
		"file":          {[]string{"--file", "x"}, "source:path"},
		"bad time":      {[]string{"--created", "today"}, "today"},
		"missing input": {[]string{"--binary", "/no/such", "--tag", "a:1", "--push", "--platform", "linux/amd64"}, "/no/such"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("run: %v, want an error with %q", err, test.want)
			}
		})
	}
	if err := run(t.Context(), []string{"--help"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}
