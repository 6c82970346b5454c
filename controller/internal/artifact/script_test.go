package artifact_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// scripts renders for a library of one archive.
func scripts(t *testing.T, archives ...string) artifact.Scripts {
	t.Helper()
	folder := t.TempDir()
	for _, arch := range archives {
		if err := os.WriteFile(filepath.Join(folder, artifact.File(arch)), []byte("an archive"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	library, err := artifact.Open(folder, "1.2.3", "fairlead/dagent:1.2.3", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return artifact.Scripts{
		Library: library, PublicURL: "https://fairlead.example.org", AgentAddr: "fairlead.example.org:8443",
		RootPin: func() string { return strings.Repeat("ab", 32) }, ReleaseKey: key.Public().(ed25519.PublicKey),
	}
}

func request() node.ScriptRequest {
	return node.ScriptRequest{
		TeamSlug: "acme", NodeID: uuid.MustParse("2f1c9d6e-0000-4000-8000-000000000001"), NodeName: "web-1",
		Token: "a-token", ExpireAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func TestAgentsOfOneMachineHaveNamesOfTheirOwn(t *testing.T) {
	script, command, err := scripts(t, "amd64").Render(request())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(script, []byte("\nCONTAINER='fairlead-agent-2f1c9d6e'\n")) {
		t.Error("the script does not name the agent's container after the node")
	}
	if where := "https://fairlead.example.org/api/acme/nodes/2f1c9d6e-0000-4000-8000-000000000001/script"; !strings.Contains(command, where) {
		t.Errorf("the command does not fetch %s: %s", where, command)
	}
}

func TestAClusterGetsItsOwnAgent(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, artifact.CraneFile("amd64")), []byte("an archive of crane"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	library, err := artifact.Open(folder, "1.2.3", "fairlead/dagent:1.2.3", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := scripts(t, "amd64")
	if _, _, err := s.Render(cluster()); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("without an archive of crane: %v, want Precondition", err)
	}
	s.Library = library
	script, _, err := s.Render(cluster())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NAME='fairlead-2f1c9d6e'", "ARTIFACT_PATH='/artifacts/crane/1.2.3/linux-amd64.tar'", "ARCHIVE_IMAGE='fairlead/crane:1.2.3'"} {
		if !bytes.Contains(script, []byte(want)) {
			t.Errorf("the script does not say %s", want)
		}
	}
	for _, path := range []string{"/artifacts/crane/1.2.3/linux-amd64.tar.sig", "/artifacts/crane/1.2.3/linux-amd64.tar.minisig"} {
		if _, found := library.Signature(path); !found {
			t.Errorf("no signature is served at %s", path)
		}
	}
	build, found := library.Build(node.Kubernetes, "amd64")
	if !found || build.Path != "/artifacts/crane/1.2.3/linux-amd64.tar" {
		t.Errorf("an agent of a cluster is updated by %+v (%t)", build, found)
	}
	if build, found = library.Build(node.Docker, "amd64"); found {
		t.Errorf("an agent of Docker is updated by %+v", build)
	}
	r := cluster()
	r.RootPath = "/srv/agent"
	if _, _, err := s.Render(r); !apperr.Is(err, apperr.Invalid) || !strings.Contains(err.Error(), "rootPath") {
		t.Errorf("a folder for a cluster: %v, want Invalid that names it", err)
	}
}

func cluster() node.ScriptRequest {
	r := request()
	r.Type = node.Kubernetes
	return r
}

func TestWhatCannotBeInstalledIsRefused(t *testing.T) {
	if _, _, err := scripts(t).Render(request()); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("without archives: %v, want Precondition", err)
	}
	r := request()
	r.RootPath = "/etc/agent"
	_, _, err := scripts(t, "amd64").Render(r)
	if !apperr.Is(err, apperr.Invalid) || !strings.Contains(err.Error(), "/etc") {
		t.Errorf("root path in /etc: %v, want Invalid", err)
	}
	r = request()
	r.ACMEEmail = "ann"
	_, _, err = scripts(t, "amd64").Render(r)
	if !apperr.Is(err, apperr.Invalid) || !strings.Contains(err.Error(), "dagentTraefik.acmeEmail") {
		t.Errorf("no e-mail address: %v, want Invalid that names it", err)
	}
}

// TestDockerScriptsPinTheImage of an archive as registries and engines have it; of
// one that holds none, they pin the archive alone.
func TestDockerScriptsPinTheImage(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(folder, artifact.File("amd64")), name.MustParseReference("fairlead/dagent:1.2.3"), image); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, artifact.File("arm64")), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	library, err := artifact.Open(folder, "1.2.3", "fairlead/dagent:1.2.3", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), nil)
	if err != nil {
		t.Fatal(err)
	}
	digest, digestErr := image.Digest()
	id, idErr := image.ConfigName()
	if err := errors.Join(digestErr, idErr); err != nil {
		t.Fatal(err)
	}
	if a := library.Artifacts[0]; a.ImageDigest != digest.String() || a.ImageID != id.String() {
		t.Errorf("it pins %s and %s, want %s and %s", a.ImageDigest, a.ImageID, digest, id)
	}
	if a := library.Artifacts[1]; a.ImageDigest != "" || a.ImageID != "" || a.SHA256 == "" {
		t.Errorf("of what holds no image it pins %+v", a)
	}
}
