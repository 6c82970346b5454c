package ociimage_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"fairlead.dev/shared/ociimage"
)

// TestTwoBuildsAreTheSame: the same source, in two folders, makes the same
// archive and the same bill of materials, which names what is in it.
func TestTwoBuildsAreTheSame(t *testing.T) {
	build := func() (archive, bill []byte) {
		t.Helper()
		folder := t.TempDir()
		program, output := filepath.Join(folder, "program"), filepath.Join(folder, "archive.tar")
		// The module's own tool, which has modules of others in it.
		source := filepath.Join(folder, "source")
		if err := os.CopyFS(source, os.DirFS(".")); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./cmd/ociimage")
		command.Dir = source
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		image, err := ociimage.Build(ociimage.Spec{
			Platform: "linux/amd64", Files: []ociimage.File{{Path: "/program", Source: program}}, Entrypoint: []string{"/program"},
		})
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := ociimage.WriteArchive(&text, "program:1.0.0", image); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(output, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if bill, err = ociimage.Bill(output, program, "program", "1.0.0"); err != nil {
			t.Fatal(err)
		}
		return text.Bytes(), bill
	}
	archive, bill := build()
	again, billAgain := build()
	if !bytes.Equal(archive, again) || !bytes.Equal(bill, billAgain) {
		t.Error("two builds differ")
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(bill), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(archive)
	if hashes := *bom.Metadata.Component.Hashes; hashes[0].Value != hex.EncodeToString(sum[:]) {
		t.Errorf("the bill is of %v", hashes)
	}
	found := map[string]bool{}
	for _, c := range *bom.Components {
		found[c.Name] = true
	}
	for _, name := range []string{"fairlead.dev/shared/ociimage/cmd/ociimage", "github.com/google/go-containerregistry", "std"} {
		if !found[name] {
			t.Errorf("the bill does not name %s", name)
		}
	}
}
