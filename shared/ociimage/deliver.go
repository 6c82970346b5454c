package ociimage

import (
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Credentials for a registry; the zero value is anonymous.
type Credentials struct{ Username, Password string }

// WriteArchive writes image as an archive that `docker load` of every engine
// from 20.10 on reads; loaded, it is called tag, like "app:1.0.0".
func WriteArchive(w io.Writer, tag string, image v1.Image) error {
	ref, err := parseTag(tag)
	if err != nil {
		return err
	}
	if err := tarball.Write(ref, image, w); err != nil {
		return fmt.Errorf("write the archive of %s: %w", tag, err)
	}
	return nil
}

// Push sends image to the registry that tag names, like
// "127.0.0.1:5000/app:1.0.0", and returns its digest, "sha256:…". A registry
// on a loopback or private address may speak plain HTTP, every other speaks
// HTTPS.
func Push(ctx context.Context, tag string, image v1.Image, credentials Credentials) (digest string, err error) {
	ref, err := parseTag(tag)
	if err != nil {
		return "", err
	}
	auth := authn.Anonymous
	if credentials != (Credentials{}) {
		auth = &authn.Basic{Username: credentials.Username, Password: credentials.Password}
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuth(auth)); err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	hash, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", tag, err)
	}
	return hash.String(), nil
}

func parseTag(text string) (name.Tag, error) {
	tag, err := name.NewTag(text, name.WithDefaultTag(""))
	if err != nil {
		return name.Tag{}, fmt.Errorf("tag %q: %w", text, err)
	}
	if tag.TagStr() == "" {
		return name.Tag{}, fmt.Errorf("tag %q: must be a name with a tag, like app:1.0.0", text)
	}
	return tag, nil
}
