package docker

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/filler"
	"fairlead.dev/shared/spec"
)

// fillFromImage copies a folder of an image into a volume. The image's programs
// are not run: the engine copies the folder into a new volume that is mounted
// over it, and the filler goes on from there.
func (a *applying) fillFromImage(ctx context.Context, s *slot, cc spec.ConfigContainer, image string) (err error) {
	if err := a.requireFolder(ctx, s, cc, image); err != nil {
		return err
	}
	made, err := a.makeSource(ctx, s, cc, image, mount.Mount{Type: mount.TypeVolume, Target: cc.Path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.discardSource(ctx, cc, made)) }()
	seen, err := a.engine.ContainerInspect(ctx, made)
	if err != nil {
		return engineError(err, "copy %s of image %s", cc.Path, cc.Image)
	}
	verb := filler.VerbMirror
	if cc.KeepFiles {
		verb = filler.VerbOverlay
	}
	for _, m := range seen.Mounts {
		if m.Type == mount.TypeVolume && m.Destination == strings.TrimRight(cc.Path, "/") {
			source := mount.Mount{Type: mount.TypeVolume, Source: m.Name, Target: filler.Source, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}
			return a.runFiller(ctx, s, cc.Volume, []string{verb}, nil, source)
		}
	}
	return apperr.New(apperr.Internal, "copy %s of image %s: the engine made no volume of it", cc.Path, cc.Image)
}

// requireCopies refuses Podman: it copies an image's folder into a volume only
// when the container starts, so fillFromImage would take it for empty.
func (d *Driver) requireCopies(ctx context.Context) error {
	version, err := d.engine.ServerVersion(ctx)
	if err != nil {
		return engineError(err, "ask the engine for its version")
	}
	if slices.ContainsFunc(version.Components, func(c types.ComponentVersion) bool { return c.Name == "Podman Engine" }) {
		return apperr.New(apperr.Unsupported, "configContainer: Podman does not copy folders of images the way this needs; fill the volume by storage or initContainers")
	}
	return nil
}

// requireFolder refuses a path that is no folder of the image: mounted over it,
// the volume that the engine makes would be empty, and what the other one holds
// would be removed for it.
func (a *applying) requireFolder(ctx context.Context, s *slot, cc spec.ConfigContainer, image string) (err error) {
	made, err := a.makeSource(ctx, s, cc, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.discardSource(ctx, cc, made)) }()
	seen, err := a.engine.ContainerStatPath(ctx, made, cc.Path)
	if err == nil && seen.Mode&fs.ModeSymlink != 0 {
		seen, err = a.engine.ContainerStatPath(ctx, made, seen.LinkTarget)
	}
	switch {
	case cerrdefs.IsNotFound(err):
		return apperr.New(apperr.Invalid, "configContainer.path: image %s has no folder %s", cc.Image, cc.Path)
	case err != nil:
		return engineError(err, "look for %s in image %s", cc.Path, cc.Image)
	case !seen.Mode.IsDir():
		return apperr.New(apperr.Invalid, "configContainer.path: %s of image %s is no folder", cc.Path, cc.Image)
	}
	return nil
}

// makeSource makes a container of an image from which a folder is copied. It is
// never started.
func (a *applying) makeSource(ctx context.Context, s *slot, cc spec.ConfigContainer, image string, mounts ...mount.Mount) (id string, err error) {
	labels := workloadLabels(a.dep, s.Workload)
	labels[labelInit] = nameSource
	made, err := a.engine.ContainerCreate(ctx,
		&container.Config{Image: image, Labels: labels, Cmd: []string{"none"}},
		&container.HostConfig{NetworkMode: "none", Mounts: mounts},
		nil, nil, s.base+suffixInit+nameSource)
	if err != nil {
		return "", engineError(err, "copy %s of image %s", cc.Path, cc.Image)
	}
	return made.ID, nil
}

// discardSource removes what makeSource made, with the volume of it.
func (a *applying) discardSource(ctx context.Context, cc spec.ConfigContainer, id string) error {
	if err := a.discard(context.WithoutCancel(ctx), id); err != nil {
		return engineError(err, "remove what was copied of image %s", cc.Image)
	}
	return nil
}
