package app

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/shared/buildinfo"
)

// PushAgent brings an agent that this controller serves, dagent or crane, to a
// repository of a registry, with the credentials that `docker login` left.
func PushAgent(ctx context.Context, c config.Config, agent, repository string) (artifact.Pushed, error) {
	return artifact.Push(ctx, artifactDir(c), agent, buildinfo.Version(), repository, authn.DefaultKeychain)
}
