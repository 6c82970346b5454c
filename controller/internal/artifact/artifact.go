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

	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/update"
	installscripts "fairlead.dev/install-scripts"
	"fairlead.dev/shared/release"
)

// Architectures agents are built for.
func architectures() []string { return []string{"amd64", "arm64"} }

// File is the name of dagent's archive for an architecture, as `make build`
// leaves it in the artifact folder.
func File(arch string) string { return "dagent-linux-" + arch + ".tar" }

// EdgeFile is the name of the edge proxy's archive.
func EdgeFile(arch string) string { return "edge-linux-" + arch + ".tar" }

// CraneFile is the name of crane's archive for an architecture.
func CraneFile(arch string) string { return "crane-linux-" + arch + ".tar" }

// Library is the set of archives of one version.
type Library struct {
	// Version is what the archives hold.
	Version string
	// Image is the reference the archives' image loads as.
	Image string
	// Artifacts are what install scripts pin.
	Artifacts []installscripts.Artifact
	// CraneImage and Crane are those of the agent for Kubernetes.
	CraneImage string
	Crane      []installscripts.Artifact
	// files has each served path's file on disk, signatures each path's
	// detached signature.
	files      map[string]string
	signatures map[string][]byte
	key        ed25519.PrivateKey
	// keys are the release keys, oldest first.
	keys []update.Key
	// contents has each archive that agents fetch, by its digest.
	contents map[string]content
}

// content is an archive on the disk.
type content struct {
	file string
	size int64
}

// Open reads and signs the archives in folder. A folder without any makes an
// empty library: the controller then serves, but can't install nodes.
//
// Chain are the release keys that were before the present one, and that one.
func Open(folder, version, image string, key ed25519.PrivateKey, chain []release.Key) (*Library, error) {
	l := &Library{Version: version, Image: image, CraneImage: "fairlead/crane:" + version, key: key, keys: updateKeys(chain), files: map[string]string{}, signatures: map[string][]byte{}, contents: map[string]content{}}
	for _, arch := range architectures() {
		if err := l.addEdge(filepath.Join(folder, EdgeFile(arch))); err != nil {
			return nil, err
		}
		a, found, err := l.add(filepath.Join(folder, File(arch)), "dagent", arch)
		if err != nil {
			return nil, err
		}
		if found {
			a.ImageDigest, a.ImageID = pins(filepath.Join(folder, File(arch)))
			l.Artifacts = append(l.Artifacts, a)
			if err := l.openBill(folder, arch, a); err != nil {
				return nil, err
			}
		}
		a, found, err = l.add(filepath.Join(folder, CraneFile(arch)), "crane", arch)
		if err != nil {
			return nil, err
		}
		if found {
			l.Crane = append(l.Crane, a)
		}
	}
	return l, l.publishKeys(chain)
}

// add serves an agent's archive, signed; found is false when there is no file.
func (l *Library) add(file, agent, arch string) (a installscripts.Artifact, found bool, err error) {
	sum, size, others, err := digest(file)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("read artifact: %w", err)
	}
	a = installscripts.Artifact{
		Arch: arch, Path: path.Join("/artifacts", agent, l.Version, "linux-"+arch+".tar"), SHA256: sum, Size: size,
	}
	l.files[a.Path] = file
	l.contents["sha256:"+sum] = content{file, size}
	l.signatures[a.Path+".sig"] = installscripts.Sign(l.key, a, l.Version)
	if l.signatures[a.Path+".sshsig"], err = release.SignSSH(l.key, others); err != nil {
		return a, false, err
	}
	comment := "file:" + path.Base(a.Path) + " version:" + l.Version
	l.signatures[a.Path+".minisig"], err = release.SignMinisign(l.key, others, comment)
	return a, err == nil, err
}

// pins returns what a registry and an engine have an archive's image by. A file that
// holds none is served all the same: whoever asks for it is told by the engine.
func pins(file string) (digest, id string) {
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return "", ""
	}
	manifest, manifestErr := image.Digest()
	config, configErr := image.ConfigName()
	if manifestErr != nil || configErr != nil {
		return "", ""
	}
	return manifest.String(), config.String()
}

// Paths of the keys that signatures are checked by: for openssl, ssh-keygen and
// minisign.
const (
	pathSigners  = "/artifacts/keys/allowed_signers"
	pathMinisign = "/artifacts/keys/minisign.pub"
)

// publishKeys serves the public keys.
func (l *Library) publishKeys(chain []release.Key) (err error) {
	public := ed25519.PublicKey(l.key[ed25519.SeedSize:])
	list := []ed25519.PublicKey{public}
	for _, key := range chain {
		if !key.Public.Equal(public) {
			list = append(list, key.Public)
		}
	}
	l.signatures[pathMinisign] = release.MinisignKey(public)
	l.signatures[pathSigners], err = release.AllowedSigners(list)
	return err
}

func updateKeys(chain []release.Key) []update.Key {
	keys := make([]update.Key, len(chain))
	for i, key := range chain {
		keys[i] = update.Key{Public: key.Public, Signature: key.Signature}
	}
	return keys
}

// Build returns the signed build of the agent of such nodes for an architecture, in
// Go's words.
func (l *Library) Build(kind node.Type, architecture string) (update.Build, bool) {
	list := l.Artifacts
	if kind == node.Kubernetes {
		list = l.Crane
	}
	for _, a := range list {
		if a.Arch == architecture {
			signed := release.Artifact{Path: a.Path, Version: l.Version, SHA256: a.SHA256, Size: a.Size}
			return update.Build{
				Version: l.Version, Digest: "sha256:" + a.SHA256, Size: a.Size, Path: a.Path, Signature: signed.Sign(l.key), Keys: l.keys,
			}, true
		}
	}
	return update.Build{}, false
}

// addEdge adds the archive of the edge proxy. It is in no install script: the
// agent that was built with it knows its digest, and fetches it when a
// deployment asks for routes.
func (l *Library) addEdge(file string) error {
	sum, size, _, err := digest(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read artifact: %w", err)
	}
	l.contents["sha256:"+sum] = content{file, size}
	return nil
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

// digest returns a file's SHA-256 in hex, its length, and what other tools
// sign of it.
func digest(file string) (sum string, size int64, others *release.Digests, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	h := sha256.New()
	if others, err = release.NewDigests(); err != nil {
		return "", 0, nil, err
	}
	if size, err = io.Copy(io.MultiWriter(h, others), f); err != nil {
		return "", 0, nil, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, others, nil
}
