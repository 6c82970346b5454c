package build_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/e2e/registry"
	"fairlead.dev/shared/ociimage"
)

// agent is what a controller has of an agent: the digest of its image for each
// architecture, and the type of the scripts that install it.
type agent struct {
	script  string
	digests map[string]string
}

// pushesTheAgents to a real registry, that wants credentials and that does not:
// what the archives hold is there by its digest, and by one tag for all.
func pushesTheAgents(t *testing.T, controller string) {
	artifacts, home := t.TempDir(), t.TempDir()
	agents := map[string]agent{"dagent": {script: "docker"}, "crane": {script: "k8s"}}
	for name, a := range agents {
		a.digests = map[string]string{}
		for _, arch := range []string{"amd64", "arm64"} {
			a.digests[arch] = archiveOf(t, artifacts, name, arch)
		}
		agents[name] = a
	}
	push := func(agent, repository, folder string) (string, error) {
		command := exec.CommandContext(t.Context(), controller, "artifacts", "push", agent, repository, "--artifact-dir", folder)
		command.Env = append(os.Environ(), "DOCKER_CONFIG="+home)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	for name, config := range map[string]registry.Config{"open": {}, "closed": {Username: "ann", Password: "secret"}} {
		t.Run(name, func(t *testing.T) {
			r, err := registry.Start(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Stop() })
			auth := authn.Anonymous
			if config.Username != "" {
				if out, err := push("dagent", r.Addr()+"/fairlead/dagent", artifacts); err == nil || !strings.Contains(out, "docker login "+r.Addr()+" first") {
					t.Errorf("without credentials: %v\n%s", err, out)
				}
				login(t, home, r.Addr(), config)
				auth = &authn.Basic{Username: config.Username, Password: config.Password}
			}
			for name, a := range agents {
				repository := r.Addr() + "/fairlead/" + name
				for range 2 { // again is no harm
					out, err := push(name, repository, artifacts)
					if err != nil || !strings.Contains(out, repository+":1.2.3-test is in the registry; install scripts of type "+a.script) {
						t.Fatalf("%v\n%s", err, out)
					}
					for arch, digest := range a.digests {
						if !strings.Contains(out, repository+"@"+digest+" (linux/"+arch+")") {
							t.Errorf("it does not tell %s of %s:\n%s", digest, arch, out)
						}
					}
				}
				for arch, digest := range a.digests {
					expectServed(t, repository, arch, digest, auth)
				}
			}
		})
	}
	for what, c := range map[string]struct{ agent, repository, folder, says string }{
		"no agent":      {"edge", "127.0.0.1:1/fairlead/edge", artifacts, "it is dagent for Docker, crane for Kubernetes"},
		"no repository": {"crane", "127.0.0.1:1/fairlead/CRANE", artifacts, "is not a repository"},
		"no archives":   {"dagent", "127.0.0.1:1/fairlead/dagent", t.TempDir(), "holds no archive of dagent"},
		"nobody there":  {"crane", "127.0.0.1:1/fairlead/crane", artifacts, "connection refused"},
		"an old word":   {"127.0.0.1:1/fairlead/crane", "--log-level", artifacts, "usage: controller artifacts push"},
	} {
		if out, err := push(c.agent, c.repository, c.folder); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, want %q\n%s", what, err, c.says, out)
		}
	}
}

// archiveOf writes an agent's archive for an architecture and returns its image's
// digest.
func archiveOf(t *testing.T, folder, agent, arch string) (digest string) {
	t.Helper()
	file := filepath.Join(folder, agent+"-linux-"+arch+".tar")
	made, err := ociimage.Build(ociimage.Spec{
		Platform: "linux/" + arch, Entrypoint: []string{"/" + agent}, Files: []ociimage.File{{Path: "/" + agent, Content: []byte(agent + " for " + arch)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := ociimage.WriteArchive(archive, "fairlead/"+agent+":1.2.3-test", made); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

// login leaves what docker login does.
func login(t *testing.T, home, host string, config registry.Config) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(config.Username + ":" + config.Password))
	if err := os.WriteFile(filepath.Join(home, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
}

// expectServed checks that the registry has an image by its digest, and that the
// tag leads machines of its architecture to it.
func expectServed(t *testing.T, repository, arch, digest string, auth authn.Authenticator) {
	t.Helper()
	options := []remote.Option{remote.WithContext(t.Context()), remote.WithAuth(auth)}
	byDigest, err := name.NewDigest(repository + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(byDigest, options...)
	if err != nil {
		t.Fatal(err)
	}
	if file, err := image.ConfigFile(); err != nil || file.Architecture != arch {
		t.Errorf("%s is for %v, want %s (%v)", digest, file, arch, err)
	}
	byTag, err := name.NewTag(repository + ":1.2.3-test")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(byTag, options...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == arch && m.Digest.String() == digest {
			return
		}
	}
	t.Errorf("the tag does not lead to %s for %s: %v", digest, arch, manifest.Manifests)
}
