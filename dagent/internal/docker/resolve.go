package docker

import (
	"context"

	"github.com/distribution/reference"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// picture is what an image reference stands for now.
type picture struct {
	// digest is what the registry has, or the engine when the registry could
	// not be asked; empty when neither knows one.
	digest string
	// id is the engine's id of the image it has for the reference; only
	// filled in when the registry could not be asked.
	id string
	// exact is true when the reference names the digest itself.
	exact bool
	// doubt is why the registry could not be asked, or what it refused.
	doubt error
}

// resolve finds out what an image stands for now, without pulling it. It fails
// only when the engine does not answer.
func (d *Driver) resolve(ctx context.Context, image spec.Image) (picture, error) {
	named, err := reference.ParseDockerRef(image.Reference)
	if err != nil {
		return picture{}, apperr.Wrap(apperr.Invalid, err, "resolve image %s", image.Reference)
	}
	if exact, ok := named.(reference.Digested); ok {
		return picture{digest: exact.Digest().String(), exact: true}, nil
	}
	auth, err := encodeAuth(image.Auth)
	if err != nil {
		return picture{}, err
	}
	found, err := d.engine.DistributionInspect(ctx, named.String(), auth)
	if err == nil {
		return picture{digest: found.Descriptor.Digest.String()}, nil
	}
	p := picture{doubt: registryError(err, "resolve", image.Reference)}
	local, err := d.engine.ImageInspect(ctx, named.String())
	if err == nil {
		p.id, p.digest = local.ID, digestOf(pin(named, local))
	} else if err := d.engineAway(ctx); err != nil {
		return picture{}, err
	}
	return p, nil
}

// engineAway tells an engine that is away from one that has no such thing.
func (d *Driver) engineAway(ctx context.Context) error {
	if _, err := d.engine.Ping(ctx); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "reach the docker engine")
	}
	return nil
}

// digestOf returns the digest in a reference, or "".
func digestOf(text string) string {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return ""
	}
	if exact, ok := named.(reference.Digested); ok {
		return exact.Digest().String()
	}
	return ""
}

// runs reports whether a container runs what its image reference stands for.
// Where nobody can tell, it does.
func (p picture) runs(o owned) bool {
	switch {
	case p.digest != "" && o.digest != "":
		return p.digest == o.digest
	case p.id != "":
		return p.id == o.imageID
	case p.exact:
		return false // who asks for one image gets no other
	}
	return true
}
