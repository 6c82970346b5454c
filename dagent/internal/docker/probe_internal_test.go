package docker

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

func TestHealthCommand(t *testing.T) {
	for name, test := range map[string]struct {
		check *container.HealthConfig
		shell []string
		want  []string
	}{
		"no check":         {nil, nil, nil},
		"inherited":        {&container.HealthConfig{}, nil, nil},
		"none":             {&container.HealthConfig{Test: []string{"NONE"}}, nil, nil},
		"command":          {&container.HealthConfig{Test: []string{"CMD", "curl", "-f", "localhost"}}, nil, []string{"curl", "-f", "localhost"}},
		"shell":            {&container.HealthConfig{Test: []string{"CMD-SHELL", "curl -f localhost || exit 1"}}, nil, []string{"/bin/sh", "-c", "curl -f localhost || exit 1"}},
		"shell of image":   {&container.HealthConfig{Test: []string{"CMD-SHELL", "true"}}, []string{"/bin/bash", "-euc"}, []string{"/bin/bash", "-euc", "true"}},
		"nothing to run":   {&container.HealthConfig{Test: []string{"CMD"}}, nil, nil},
		"form of tomorrow": {&container.HealthConfig{Test: []string{"HTTP", "/healthz"}}, nil, nil},
	} {
		got := healthCommand(&container.Config{Healthcheck: test.check, Shell: test.shell})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestHeadKeepsTheBeginning(t *testing.T) {
	h := head{limit: 5}
	for _, text := range []string{"", "abc", "def", strings.Repeat("x", 100)} {
		if n, err := h.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write(%q) = %d, %v", text, n, err)
		}
	}
	if string(h.kept) != "abcde" {
		t.Errorf("kept %q, want abcde", h.kept)
	}
}
