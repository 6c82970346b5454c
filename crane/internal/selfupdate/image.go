package selfupdate

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/shared/apperr"
)

// build is the image in a signed archive: whoever runs one of these digests runs
// what was signed.
type build struct {
	// tag is what the archive calls it, manifest its digest in a registry, and
	// config what an engine without one knows it by.
	tag, manifest, config string
	architecture          string
}

// imageIn reads an archive, whose own digest was checked.
func imageIn(archive string) (b build, err error) {
	contents, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err == nil && (len(contents) != 1 || len(contents[0].RepoTags) != 1) {
		err = errors.New("it holds not one image with one name")
	}
	if err != nil {
		return b, apperr.Wrap(apperr.Invalid, err, "the new agent's archive is not one of an image")
	}
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return b, apperr.Wrap(apperr.Invalid, err, "the new agent's archive is not one of an image")
	}
	manifest, digestErr := image.Digest()
	config, nameErr := image.ConfigName()
	file, fileErr := image.ConfigFile()
	if err := errors.Join(digestErr, nameErr, fileErr); err != nil {
		return b, apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
	}
	return build{tag: contents[0].RepoTags[0], manifest: manifest.String(), config: config.String(), architecture: file.Architecture}, nil
}

// referenceBeside returns where the cluster's nodes get the image, when they got the
// present agent's as its container says: from the same repository, by digest; or,
// where images are brought to the nodes, by its name in the archive.
func (b build) referenceBeside(present corev1.Container) string {
	if present.ImagePullPolicy == corev1.PullNever {
		return b.tag
	}
	return repository(present.Image) + "@" + b.manifest
}

// repository returns an image's reference without tag and digest.
func repository(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(reference, ':'); colon > strings.LastIndexByte(reference, '/') {
		return reference[:colon]
	}
	return reference
}

// isIn reports whether what an engine says that a container runs is the build.
func (b build) isIn(imageID string) bool {
	for _, digest := range []string{b.manifest, b.config} {
		if strings.Contains(imageID, strings.TrimPrefix(digest, "sha256:")) {
			return true
		}
	}
	return false
}

// howToGet says what a person does who wants the nodes to have the image.
func (b build) howToGet(reference string) string {
	if reference == b.tag {
		return "images are brought to this cluster's nodes: make a new install script for the node and run it there with --load, which updates the agent too"
	}
	return "push the archive there so that it keeps its digest " + b.manifest + " (controller artifacts push does), and update again"
}
