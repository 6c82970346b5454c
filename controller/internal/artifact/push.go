package artifact

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/shared/apperr"
)

// Pushed is an image that a registry has.
type Pushed struct {
	// Name is the reference by its tag, which is for every architecture.
	Name string
	// Digests has the reference by digest of each architecture's image.
	Digests map[string]string
}

// Push brings an agent's image, dagent's or crane's, to a repository of a registry,
// tagged with version, out of the archives in folder. What an archive holds keeps
// its digest, which install scripts pin and agents of clusters ask for.
//
// Errors: Invalid for another agent and for a repository that is none, NotFound
// when there is no archive, Unauthenticated when the registry wants other
// credentials, Unavailable with what the registry says.
func Push(ctx context.Context, folder, agent, version, repository string, credentials authn.Keychain) (Pushed, error) {
	archive, known := map[string]func(arch string) string{"dagent": File, "crane": CraneFile}[agent]
	if !known {
		return Pushed{}, apperr.New(apperr.Invalid, "there is no agent %q: it is dagent for Docker, crane for Kubernetes", agent)
	}
	repo, err := name.NewRepository(repository)
	if err != nil {
		return Pushed{}, apperr.Wrap(apperr.Invalid, err, "%q is not a repository, like registry.example.org/fairlead/%s", repository, agent)
	}
	pushed := Pushed{Name: repo.Tag(version).String(), Digests: map[string]string{}}
	index := v1.ImageIndex(empty.Index)
	for _, arch := range architectures() {
		image, err := tarball.ImageFromPath(filepath.Join(folder, archive(arch)), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Pushed{}, apperr.Wrap(apperr.Invalid, err, "the archive of %s for %s cannot be read", agent, arch)
		}
		digest, err := image.Digest()
		if err != nil {
			return Pushed{}, apperr.Wrap(apperr.Invalid, err, "the archive of %s for %s is broken", agent, arch)
		}
		pushed.Digests[arch] = repo.Digest(digest.String()).String()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if len(pushed.Digests) == 0 {
		return Pushed{}, apperr.New(apperr.NotFound, "%s holds no archive of %s: build it with make artifacts, or say where it is with --artifact-dir", folder, agent)
	}
	err = remote.WriteIndex(repo.Tag(version), index, remote.WithContext(ctx), remote.WithAuthFromKeychain(credentials))
	var refused *transport.Error
	if errors.As(err, &refused) && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden) {
		return Pushed{}, apperr.Wrap(apperr.Unauthenticated, err, "the registry does not take %s from this user: docker login %s first", pushed.Name, repo.RegistryStr())
	}
	if err != nil {
		return Pushed{}, apperr.Wrap(apperr.Unavailable, err, "the registry does not take %s", pushed.Name)
	}
	return pushed, nil
}
