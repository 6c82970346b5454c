package ociimage_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/shared/ociimage"
)

// hello compiles the test program and describes an image around it.
func hello(t *testing.T) ociimage.Spec {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hello")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "./testdata/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test program: %v\n%s", err, out)
	}
	return ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH,
		Files: []ociimage.File{
			{Path: "/hello", Source: binary},
			{Path: "/etc/note", Content: []byte("noted"), Mode: 0o444},
			{Path: "/data", Dir: true, UID: 1000, GID: 1000, Mode: fs.ModeSticky | 0o777},
		},
		Entrypoint:  []string{"/hello", "fixed"},
		Cmd:         []string{"default"},
		Env:         []string{"WHO=world"},
		Ports:       []string{"8080", "53/udp"},
		Labels:      map[string]string{"org.opencontainers.image.version": "1.2.3", "a": "b"},
		User:        "1000:1000",
		WorkingDir:  "/data",
		Healthcheck: &ociimage.Healthcheck{Command: []string{"/hello"}, Interval: 2 * time.Second, Retries: 3},
	}
}

func archive(t *testing.T, tag string, spec ociimage.Spec) []byte {
	t.Helper()
	image, err := ociimage.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := ociimage.WriteArchive(&out, tag, image); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// docker runs the Docker command line and returns what it printed.
func docker(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "docker", args...)
	command.Stdin = bytes.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s\nthis test needs a running Docker Engine: scripts/ensure-docker.sh starts one",
			strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSameInputsGiveSameBytes(t *testing.T) {
	spec := hello(t)
	first := archive(t, "hello:1", spec)

	// Neither the order of the files nor the clock may show.
	spec.Files[0], spec.Files[2] = spec.Files[2], spec.Files[0]
	if err := os.Chtimes(spec.Files[2].Source, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, archive(t, "hello:1", spec)) {
		t.Error("two builds of the same inputs differ")
	}

	spec.Files[1].Content = []byte("changed")
	spec.Files = spec.Files[:3]
	if bytes.Equal(first, archive(t, "hello:1", spec)) {
		t.Error("builds of different inputs are the same")
	}
}

func TestEngineLoadsAndRunsTheArchive(t *testing.T) {
	tag := "fairlead-ociimage-test-" + strconv.Itoa(os.Getpid()) + ":1.2.3"
	loaded := docker(t, archive(t, tag, hello(t)), "load", "--quiet")
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "--force", tag).Run() })
	if want := "Loaded image: " + tag; loaded != want {
		t.Errorf("docker load said %q, want %q", loaded, want)
	}

	if got, want := docker(t, nil, "run", "--rm", "--network=none", tag), "hello world fixed default 1000 noted"; got != want {
		t.Errorf("the container printed %q, want %q", got, want)
	}

	for format, want := range map[string]string{
		"{{.Os}}/{{.Architecture}}":                                        "linux/" + runtime.GOARCH,
		"{{.Config.User}} {{.Config.WorkingDir}}":                          "1000:1000 /data",
		"{{json .Config.ExposedPorts}}":                                    `{"53/udp":{},"8080/tcp":{}}`,
		"{{json .Config.Labels}}":                                          `{"a":"b","org.opencontainers.image.version":"1.2.3"}`,
		"{{json .Config.Healthcheck.Test}}":                                `["CMD","/hello"]`,
		"{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}": "2s 3",
	} {
		if got := docker(t, nil, "image", "inspect", "--format", format, tag); got != want {
			t.Errorf("image inspect %s = %s, want %s", format, got, want)
		}
	}
}

func TestBadSpecIsRefusedByField(t *testing.T) {
	fine := ociimage.File{Path: "/a", Content: []byte("a")}
	for name, test := range map[string]struct {
		change func(*ociimage.Spec)
		want   string
	}{
		"no platform":       {func(s *ociimage.Spec) { s.Platform = "" }, `platform ""`},
		"half a platform":   {func(s *ociimage.Spec) { s.Platform = "linux" }, `platform "linux"`},
		"no files":          {func(s *ociimage.Spec) { s.Files = nil }, "files:"},
		"relative path":     {func(s *ociimage.Spec) { s.Files[0].Path = "a" }, `file path "a"`},
		"climbing path":     {func(s *ociimage.Spec) { s.Files[0].Path = "/../a" }, `file path "/../a"`},
		"twice":             {func(s *ociimage.Spec) { s.Files = append(s.Files, fine) }, `file path "/a": given twice`},
		"under a file":      {func(s *ociimage.Spec) { s.Files = append(s.Files, ociimage.File{Path: "/a/b"}) }, `"/a" is a file`},
		"folder w. content": {func(s *ociimage.Spec) { s.Files[0].Dir = true }, "a folder has no content"},
		"missing source":    {func(s *ociimage.Spec) { s.Files[0] = ociimage.File{Path: "/a", Source: "/no/such"} }, "/no/such"},
		"port zero":         {func(s *ociimage.Spec) { s.Ports = []string{"0"} }, `port "0"`},
		"port protocol":     {func(s *ociimage.Spec) { s.Ports = []string{"80/http"} }, `port "80/http"`},
		"env without value": {func(s *ociimage.Spec) { s.Env = []string{"WHO"} }, `env "WHO"`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := ociimage.Spec{Platform: "linux/amd64", Files: []ociimage.File{fine}}
			test.change(&spec)
			_, err := ociimage.Build(spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Build: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestTagMustNameATag(t *testing.T) {
	image, err := ociimage.Build(ociimage.Spec{Platform: "linux/amd64", Files: []ociimage.File{{Path: "/a"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"", "app", "App:1", "app:", "app@sha256:" + strings.Repeat("a", 64), "127.0.0.1:5000/app"} {
		if err := ociimage.WriteArchive(&bytes.Buffer{}, tag, image); err == nil {
			t.Errorf("WriteArchive(%q) was accepted", tag)
		}
	}
}
