// Package artifact holds the agents' image archives that this controller
// serves to its nodes, which may reach nothing else.
package artifact

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"fairlead.dev/controller/internal/update"
	installscripts "fairlead.dev/install-scripts"
	"fairlead.dev/shared/release"
)

// Architectures agents are built for.
func architectures() []string { return []string{"amd64", "arm64"} }

// File is the name of dagent's archive for an architecture, as `make build`
// leaves it in the artifact folder.
func File(arch string) string { return "dagent-linux-" + arch + ".tar" }

// Library is the set of archives of one version.
type Library struct {
	// Version is what the archives hold.
	Version string
	// Image is the reference the archives' image loads as.
	Image string
	// Artifacts are what install scripts pin.
	Artifacts []installscripts.Artifact
	// files has each served path's file on disk, signatures each path's
	// detached signature.
	files      map[string]string
	signatures map[string][]byte
	key        ed25519.PrivateKey
	// keys are the release keys, oldest first.
	keys []update.Key
}

// Open reads and signs the archives in folder. A folder without any makes an
// empty library: the controller then serves, but can't install nodes.
func Open(folder, version, image string, key ed25519.PrivateKey) (*Library, error) {
	l := &Library{Version: version, Image: image, key: key, files: map[string]string{}, signatures: map[string][]byte{}}
	for _, arch := range architectures() {
		file := filepath.Join(folder, File(arch))
		sum, size, err := digest(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read artifact: %w", err)
		}
		a := installscripts.Artifact{
			Arch: arch, Path: path.Join("/artifacts/dagent", version, "linux-"+arch+".tar"), SHA256: sum, Size: size,
		}
		l.Artifacts = append(l.Artifacts, a)
		l.files[a.Path] = file
		l.signatures[a.Path+".sig"] = installscripts.Sign(key, a, version)
	}
	return l, nil
}

// Build returns the signed build for an architecture, in Go's words.
func (l *Library) Build(architecture string) (update.Build, bool) {
	for _, a := range l.Artifacts {
		if a.Arch == architecture {
			signed := release.Artifact{Path: a.Path, Version: l.Version, SHA256: a.SHA256, Size: a.Size}
			return update.Build{
				Version: l.Version, Digest: "sha256:" + a.SHA256, Size: a.Size, Path: a.Path, Signature: signed.Sign(l.key), Keys: l.keys,
			}, true
		}
	}
	return update.Build{}, false
}

// File returns the file behind a served path.
func (l *Library) File(path string) (string, bool) {
	file, found := l.files[path]
	return file, found
}

// Signature returns the detached signature behind a served path.
func (l *Library) Signature(path string) ([]byte, bool) {
	signature, found := l.signatures[path]
	return signature, found
}

func digest(file string) (sum string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // only read from
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
