package artifact_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/rest"
	"fairlead.dev/shared/release"
)

// TestBillsAndKeysAreServed beside the archives: the bill of materials by the
// archive's path and by its digest, and after the release key was replaced both
// keys, with everything signed by the new one.
func TestBillsAndKeysAreServed(t *testing.T) {
	folder := t.TempDir()
	archive, bill := []byte("an archive"), `{"bomFormat":"CycloneDX"}`
	for name, content := range map[string]string{artifact.File("amd64"): string(archive), artifact.BillFile("amd64"): bill, artifact.File("arm64"): "another"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, oldPrivate := keyOf(1)
	present, private := keyOf(2)
	chain := []release.Key{{Public: old}, {Public: present, Signature: ed25519.Sign(oldPrivate, release.KeyStatement(present))}}
	library, err := artifact.Open(folder, "1.2.3", "fairlead/dagent:1.2.3", private, chain)
	if err != nil {
		t.Fatal(err)
	}
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	rest.MountArtifacts(engine, library)
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	fetch := func(path string) (status int, kind, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
	}

	sum := sha256.Sum256(archive)
	digest := hex.EncodeToString(sum[:])
	path := "/artifacts/dagent/1.2.3/linux-amd64.tar"
	for _, where := range []string{path + ".cdx.json", "/artifacts/sbom/sha256:" + digest} {
		if status, kind, body := fetch(where); status != http.StatusOK || kind != "application/vnd.cyclonedx+json" || body != bill {
			t.Errorf("%s: %d %s %q", where, status, kind, body)
		}
	}
	for _, where := range []string{"/artifacts/dagent/1.2.3/linux-arm64.tar.cdx.json", "/artifacts/sbom/sha256:" + strings.Repeat("0", 64)} {
		if status, _, body := fetch(where); status != http.StatusNotFound {
			t.Errorf("%s, of which there is none: %d %q", where, status, body)
		}
	}

	_, _, text := fetch(path + ".sig")
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	signed := release.Artifact{Path: path, Version: "1.2.3", SHA256: digest, Size: int64(len(archive))}
	if err := signed.Verify(signature, []ed25519.PublicKey{present}); err != nil {
		t.Errorf("by the new key: %v", err)
	}
	if err := signed.Verify(signature, []ed25519.PublicKey{old}); err == nil {
		t.Error("the old key still signs")
	}
	both, err := release.AllowedSigners([]ed25519.PublicKey{present, old})
	if err != nil {
		t.Fatal(err)
	}
	if status, _, body := fetch("/artifacts/keys/allowed_signers"); status != http.StatusOK || body != string(both) {
		t.Errorf("the keys: %d\n%s\nwant\n%s", status, body, both)
	}
	if _, _, body := fetch("/artifacts/keys/minisign.pub"); body != string(release.MinisignKey(present)) {
		t.Errorf("minisign's key is\n%s", body)
	}
	// An agent that trusts the old key follows to the new one.
	build, found := library.Build(node.Docker, "amd64")
	if !found || len(build.Keys) != 2 {
		t.Fatalf("the build goes out with %d keys (%t)", len(build.Keys), found)
	}
	var list []release.Key
	for _, key := range build.Keys {
		list = append(list, release.Key{Public: key.Public, Signature: key.Signature})
	}
	if err := signed.Verify(build.Signature, release.Follow([]ed25519.PublicKey{old}, list)); err != nil {
		t.Errorf("an agent of before does not follow: %v", err)
	}
}

func keyOf(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	return private.Public().(ed25519.PublicKey), private
}
