package docker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// secret is the password of user "reader"; the hash is its bcrypt.
const (
	secret     = "open sesame"
	secretHash = "$2b$12$6GG.A4JRHutdTmOHfpX6Je2d2OOrYCm2kvvE/NHWldPw8s2lMOFYi"
)

// registry is a container registry of one test.
type registry struct {
	address string
	process *exec.Cmd
}

// startRegistry runs a registry that wants credentials.
func startRegistry(t *testing.T) *registry {
	t.Helper()
	folder := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("users", "reader:"+secretHash+"\n")
	write("config.yml", fmt.Sprintf(`version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: %s}
auth: {htpasswd: {realm: test, path: %s}}
`, filepath.Join(folder, "data"), address, filepath.Join(folder, "users")))
	process := exec.CommandContext(t.Context(), "docker-registry", "serve", filepath.Join(folder, "config.yml"))
	if err := process.Start(); err != nil {
		t.Fatalf("start docker-registry, which these tests need (Debian package docker-registry): %v", err)
	}
	r := &registry{address: address, process: process}
	t.Cleanup(r.stop)
	r.await(t)
	return r
}

func (r *registry) await(t *testing.T) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := http.Get("http://" + r.address + "/v2/")
		if err == nil {
			_ = response.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the registry does not answer: %v", err)
		}
	}
}

func (r *registry) stop() {
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
}

// push puts the test program into the registry and off the engine.
func (r *registry) push(s *site, reference string) {
	s.Helper()
	r.pushImage(s, programImage, reference)
}

// auth is the engine's word for the credentials of user "reader".
func (r *registry) auth(s *site) string {
	s.Helper()
	text, err := json.Marshal(map[string]string{"username": "reader", "password": secret})
	if err != nil {
		s.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(text)
}

// pushImage puts an image that the engine has under another name into the
// registry, and takes the new name off the engine.
func (r *registry) pushImage(s *site, name, reference string) {
	s.Helper()
	ctx := s.Context()
	if err := s.engine.ImageTag(ctx, name, reference); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_, _ = s.engine.ImageRemove(context.WithoutCancel(ctx), reference, image.RemoveOptions{Force: true})
	})
	stream, err := s.engine.ImagePush(ctx, reference, image.PushOptions{RegistryAuth: r.auth(s)})
	if err != nil {
		s.Fatal(err)
	}
	if said := drain(s, stream); strings.Contains(said, "errorDetail") {
		s.Fatalf("push %s: %s", reference, said)
	}
	if _, err := s.engine.ImageRemove(ctx, reference, image.RemoveOptions{}); err != nil {
		s.Fatal(err)
	}
}

// drain reads what the engine says to its end.
func drain(t testing.TB, stream io.ReadCloser) string {
	t.Helper()
	said, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func TestPullFromARegistry(t *testing.T) {
	r := startRegistry(t)
	s := newSite(t, quick())
	reference := r.address + "/team/program:1"
	r.push(s, reference)
	from := func(reference, password string) spec.Workload {
		w := web()
		w.Image = spec.Image{Reference: reference, Auth: &spec.RegistryAuth{Server: r.address, Username: "reader", Password: password}}
		return w
	}

	for _, test := range []struct {
		name, reference, password string
		kind                      apperr.Kind
	}{
		{"no such image", r.address + "/team/none:1", secret, apperr.NotFound},
		{"no such tag", r.address + "/team/program:2", secret, apperr.NotFound},
		{"wrong password", reference, "wrong", apperr.Unauthenticated},
		{"no password", reference, "", apperr.Unauthenticated},
	} {
		failure := s.applyFails(s.release(1, from(test.reference, test.password)))
		if failure.Step != workload.StepPull || !apperr.Is(failure, test.kind) || !strings.Contains(failure.Error(), test.reference) {
			t.Errorf("%s: %v, want kind %v at step pull, naming the image", test.name, failure, test.kind)
		}
		if strings.Contains(failure.Error(), secret) {
			t.Errorf("%s: the password is in the error: %v", test.name, failure)
		}
	}

	s.apply(s.release(2, from(reference, secret)))
	seen := s.inspect("web")
	_, digest, pinned := strings.Cut(seen.Config.Image, "@")
	if !pinned || !strings.Contains(s.story(), digest) {
		t.Errorf("the container's image is %s, want the digest that was pulled and told:\n%s", seen.Config.Image, s.story())
	}
	if c := s.containers()["web"]; c.ImageName != r.address+"/team/program" || c.ImageTag != "1" {
		t.Errorf("the container is listed with image %q, tag %q", c.ImageName, c.ImageTag)
	}

	r.stop()
	s.apply(s.release(3, s.at(named("by-digest"), r.address+"/team/program@"+digest)))
	s.apply(s.release(4, s.at(named("by-tag"), reference)))
	if !strings.Contains(s.story(), "continuing with the image that is already here") {
		t.Errorf("no warning says that the registry is away:\n%s", s.story())
	}
	failure := s.applyFails(s.release(5, from(r.address+"/team/program:2", secret)))
	if !apperr.Is(failure, apperr.Unavailable) {
		t.Errorf("an image that is not here: %v, want unavailable", failure)
	}
}

// at gives a workload another image.
func (s *site) at(w spec.Workload, reference string) spec.Workload {
	w.Image.Reference = reference
	return w
}

// A rollback pins an image to what its tag stood for, under the hash that the
// workload had with the tag. What runs that image is left alone, and so it is by
// the next start with the tag; another digest makes a new container.
func TestARollbackToWhatRunsTouchesNothing(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	s := newSite(t, quick())
	versions := r.pushVersions(s, 2)
	tagged := s.release(1, r.from(versions[0]))
	s.apply(tagged)
	first := s.inspect("web")
	_, digest, _ := strings.Cut(first.Config.Image, "@")

	pinned := func(release int64, digest string) spec.Deployment {
		d := s.release(release, r.from(versions[0]+"@"+digest))
		d.Workloads[0].Hash = tagged.Workloads[0].Hash
		return d
	}
	tagged.Release = 3
	for _, d := range []spec.Deployment{pinned(2, digest), tagged} {
		if p := s.planned(d); p.Action != workload.ActionKeep {
			t.Errorf("%s is planned as %+v", d, p)
		}
		s.apply(d)
		if now := s.inspect("web"); now.ID != first.ID || now.State.StartedAt != first.State.StartedAt {
			t.Fatalf("%s has made another container of the same image", d)
		}
	}

	s.apply(s.release(4, r.from(versions[1])))
	_, other, _ := strings.Cut(s.inspect("web").Config.Image, "@")
	s.apply(pinned(5, digest))
	if p := s.planned(pinned(6, other)); other == digest || p.Action != workload.ActionReplace || p.DigestNow != digest || p.DigestThen != other {
		t.Errorf("another image of the same tag is planned as %+v", p)
	}
}
