package registry

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"fairlead.dev/shared/apperr"
)

const (
	// dockerIO is where engines pull Docker Hub's images from.
	dockerIO = "docker.io"
	// anyHost stands before names that are parsed without their registry.
	anyHost = "registry.invalid"

	defaultTag         = "latest"
	maxReferenceLength = 512
)

// ParseImage splits an image as people write it below a registry,
// "group/app:1.2", into its name and its tag. A digest takes the tag's place,
// as "sha256:…", or stands behind it, as "1.2@sha256:…": neither can be
// mistaken for a tag, which has no colon. Without any, the tag is "latest".
func ParseImage(image string) (name, tag string, err error) {
	if len(image) > maxReferenceLength {
		return "", "", apperr.New(apperr.Invalid, "an image reference has at most %d characters", maxReferenceLength)
	}
	named, err := reference.ParseNormalizedNamed(anyHost + "/" + image)
	if err != nil || reference.Domain(named) != anyHost {
		return "", "", apperr.Wrap(apperr.Invalid, err,
			"%q is not an image: want name, name:tag or name@digest, in lower case and without the registry's host", image)
	}
	name = reference.Path(named)
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		if tag != "" {
			tag += "@"
		}
		tag += digested.Digest().String()
	}
	if tag == "" {
		tag = defaultTag
	}
	return name, tag, nil
}

// JoinImage is the opposite of ParseImage.
func JoinImage(name, tag string) string {
	if strings.Contains(tag, ":") && !strings.Contains(tag, "@") {
		return name + "@" + tag
	}
	return name + ":" + tag
}

// CheckTag checks what may stand in the place of a tag.
func CheckTag(tag string) error {
	_, parsed, err := ParseImage(JoinImage("image", tag))
	if err != nil || parsed != tag {
		return apperr.InvalidField("tag", tag, "must be a tag, a digest such as sha256:…, or both with '@' between them")
	}
	return nil
}

// Reference returns the complete reference by which an engine pulls an image
// of the registry: host, repository, and tag or digest.
func Reference(r Registry, name, tag string) (string, error) {
	base := r.Details.base()
	named, err := reference.ParseNormalizedNamed(base + "/" + JoinImage(name, tag))
	if err != nil {
		return "", apperr.Wrap(apperr.Invalid, err, "image %s of registry %q", JoinImage(name, tag), r.Name)
	}
	return named.String(), nil
}

// Below returns an image as it is named below the registry, with tag or digest;
// ok is false when the image, a complete reference, is not of the registry.
func (d Details) Below(image string) (below string, ok bool) {
	return strings.CutPrefix(image, d.base()+"/")
}

// PlaceOf returns where an image, a complete reference, comes from in the words
// that registries are added with: the host, and on Docker Hub the prefix.
func PlaceOf(image string) string {
	host, path, _ := strings.Cut(image, "/")
	prefix, _, nested := strings.Cut(path, "/")
	if host == dockerIO && nested {
		return host + "/" + prefix
	}
	return host
}

// base is what stands before the names of a registry's images.
func (d Details) base() string {
	switch d.Type {
	case Hub:
		return dockerIO + "/" + d.ImageNamePrefix
	case GitHub, Google:
		return d.URL + "/" + d.ImageNamePrefix
	case V2, Unchecked:
		return strings.TrimSuffix(d.URL+"/"+d.ImageNamePrefix, "/")
	case GitLab:
		return d.URL
	default:
		return d.URL
	}
}

// host is the registry's host and port, as engines know it.
func (d Details) host() string {
	host, _, _ := strings.Cut(d.base(), "/")
	return host
}

// String names the registry in messages.
func (r Registry) String() string { return fmt.Sprintf("registry %q (%s)", r.Name, r.ID) }
