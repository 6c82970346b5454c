package sampleimage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/ociimage"
)

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s\nthis test needs a running Docker Engine: scripts/ensure-docker.sh starts one",
			strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// eventually waits until probe gives want.
func eventually(t *testing.T, what, want string, probe func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		got := probe()
		if got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: still %q, want %q", what, got, want)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestSampleRunsFallsIllAndStopsInItsContainer(t *testing.T) {
	image, err := sampleimage.Build(t.Context(), "9.8.7")
	if err != nil {
		t.Fatal(err)
	}
	tag := fmt.Sprintf("fairlead-sample-test-%d:9.8.7", os.Getpid())
	var archive bytes.Buffer
	if err := ociimage.WriteArchive(&archive, tag, image); err != nil {
		t.Fatal(err)
	}
	load := exec.CommandContext(t.Context(), "docker", "load", "--quiet")
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker load: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "--force", tag).Run() })
	id := docker(t, "run", "--detach", "--publish", "127.0.0.1::8080", tag)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", "--volumes", id).Run() })
	base := "http://" + docker(t, "port", id, "8080/tcp")

	state := func(field string) func() string {
		return func() string { return docker(t, "inspect", "--format", "{{"+field+"}}", id) }
	}
	eventually(t, "health", "healthy", state(".State.Health.Status"))
	if body := fetch(t, base+"/info"); !strings.Contains(body, `"version":"9.8.7"`) {
		t.Errorf("/info: %s", body)
	}
	fetch(t, base+"/control/write?path=note&content=kept")
	if body := fetch(t, base+"/control/read?path=note"); body != "kept" {
		t.Errorf("data: %q", body)
	}
	fetch(t, base+"/control/unhealthy")
	eventually(t, "health", "unhealthy", state(".State.Health.Status"))

	docker(t, "stop", "--time", "30", id)
	if got := state(".State.ExitCode")(); got != "0" {
		t.Errorf("exit code after SIGTERM: %s, want 0", got)
	}
	docker(t, "start", id)
	base = "http://" + docker(t, "port", id, "8080/tcp")
	eventually(t, "health", "healthy", state(".State.Health.Status"))
	fetch(t, base+"/control/exit?code=7")
	eventually(t, "state", "exited 7", state(`.State.Status}} {{.State.ExitCode`))
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s (%v)", url, response.Status, body, err)
	}
	return string(body)
}
