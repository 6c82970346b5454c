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

// PushCrane brings crane's image to a repository of a registry, tagged with
// version, out of the archives in folder. What an archive holds keeps its digest,
// which is what agents ask for when they are updated.
//
// Errors: Invalid for a repository that is none, NotFound when there is no
// archive, Unauthenticated when the registry wants other credentials, Unavailable with what the registry says.
func PushCrane(ctx context.Context, folder, version, repository string, credentials authn.Keychain) (Pushed, error) {
	repo, err := name.NewRepository(repository)
	if err != nil {
		return Pushed{}, apperr.Wrap(apperr.Invalid, err, "%q is not a repository, like registry.example.org/fairlead/crane", repository)
	}
	pushed := Pushed{Name: repo.Tag(version).String(), Digests: map[string]string{}}
	index := v1.ImageIndex(empty.Index)
	for _, arch := range architectures() {
		image, err := tarball.ImageFromPath(filepath.Join(folder, CraneFile(arch)), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Pushed{}, apperr.Wrap(apperr.Invalid, err, "the archive of crane for %s cannot be read", arch)
		}
		digest, err := image.Digest()
		if err != nil {
			return Pushed{}, apperr.Wrap(apperr.Invalid, err, "the archive of crane for %s is broken", arch)
		}
		pushed.Digests[arch] = repo.Digest(digest.String()).String()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if len(pushed.Digests) == 0 {
		return Pushed{}, apperr.New(apperr.NotFound, "%s holds no archive of crane: build it with make artifacts, or say where it is with --artifact-dir", folder)
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
