package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"version"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "crane ") {
		t.Errorf("version: code %d, %s", code, &stdout)
	}
	if code := run(nil, &stdout, &stderr); code == 0 || !strings.Contains(stderr.String(), "cannot serve") {
		t.Errorf("nothing: code %d, %s", code, &stderr)
	}
}
