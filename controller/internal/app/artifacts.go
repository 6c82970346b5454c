package app

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/shared/buildinfo"
)

// PushCrane brings the agent for Kubernetes that this controller serves to a
// repository of a registry, with the credentials that `docker login` left.
func PushCrane(ctx context.Context, c config.Config, repository string) (artifact.Pushed, error) {
	return artifact.PushCrane(ctx, artifactDir(c), buildinfo.Version(), repository, authn.DefaultKeychain)
}
