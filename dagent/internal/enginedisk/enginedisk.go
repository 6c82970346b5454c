// Package enginedisk tells how much room there is where a Docker Engine keeps
// its images, as far as an agent can see that.
package enginedisk

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"fairlead.dev/shared/apperr"
)

// Engine is the part of the Docker Engine API that is used; *client.Client has
// it.
type Engine interface {
	Info(ctx context.Context) (system.Info, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
}

// Config says where to look.
type Config struct {
	Engine Engine
	// Folder is one on the disk of the engine's images, as the agent sees it;
	// "" lets it be found.
	Folder string
	// Self is the id of the container that the agent runs in; "" for none.
	Self string
	// Local is true when the engine runs on this machine.
	Local bool
	// MinFree is how many bytes have to be free; 0 admits everything.
	MinFree int64
	Log     *slog.Logger
}

// Disk is the file system of an engine's images.
type Disk struct {
	config Config
	mu     sync.Mutex
	folder string
	warned bool
}

// New returns the disk of an engine, which need not answer yet.
func New(config Config) *Disk { return &Disk{config: config} }

// Free returns how many bytes a program without privileges could still write,
// and a folder on the disk. It fails with Unsupported when the agent can't see
// the disk.
func (d *Disk) Free(ctx context.Context) (free int64, folder string, err error) {
	if folder, err = d.find(ctx); err != nil {
		return 0, "", err
	}
	var about unix.Statfs_t
	if err := unix.Statfs(folder, &about); err != nil {
		return 0, folder, apperr.Wrap(apperr.Unsupported, err, "look at the disk of the engine at %s", folder)
	}
	return int64(about.Bavail) * about.Bsize, folder, nil
}

// Admit fails with Precondition when less room is left than has to be. Where
// nobody can know, it says so in the log, once, and admits.
func (d *Disk) Admit(ctx context.Context) error {
	if d.config.MinFree <= 0 {
		return nil
	}
	free, folder, err := d.Free(ctx)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.warned {
			d.config.Log.Warn("images are pulled without knowing whether there is room for them", "error", err)
		}
		d.warned = apperr.Is(err, apperr.Unsupported)
		return nil
	}
	if free >= d.config.MinFree {
		return nil
	}
	return apperr.New(apperr.Precondition,
		"the disk of the engine (%s) has %s free, and no image is pulled while that is less than %s; make room on the node (docker system df tells what takes it), or have the agent demand less with min-free-disk",
		folder, units.BytesSize(float64(free)), units.BytesSize(float64(d.config.MinFree)))
}

// find returns a folder on the disk of the engine's images.
func (d *Disk) find(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.folder != "" {
		return d.folder, nil
	}
	folder, err := d.config.look(ctx)
	if err != nil {
		return "", err
	}
	d.folder = folder
	return folder, nil
}

func (c Config) look(ctx context.Context) (string, error) {
	if c.Folder != "" {
		return c.Folder, nil
	}
	info, err := c.Engine.Info(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the engine where it keeps its images: %w", err)
	}
	if c.Self != "" {
		if _, err := c.Engine.ContainerInspect(ctx, c.Self); err == nil {
			return inside(info)
		}
	}
	if c.Self == "" && c.Local && !snapshots(info) {
		var about unix.Stat_t
		if unix.Stat(info.DockerRootDir, &about) == nil && about.Mode&unix.S_IFMT == unix.S_IFDIR {
			return info.DockerRootDir, nil
		}
	}
	return "", unseen(info)
}

// inside finds the disk from within a container of the engine. What the
// container writes goes to where the images are, so the root of an overlay tells
// about that disk.
func inside(info system.Info) (string, error) {
	var about unix.Statfs_t
	switch err := unix.Statfs("/", &about); {
	case err == nil && about.Type == unix.OVERLAYFS_SUPER_MAGIC:
		return "/", nil
	case !snapshots(info):
		// The engine mounts this file from its own folder.
		return "/etc/hostname", nil
	}
	return "", unseen(info)
}

// snapshots reports whether images are in containerd's folder, which the engine
// does not name.
func snapshots(info system.Info) bool {
	return slices.ContainsFunc(info.DriverStatus, func(pair [2]string) bool {
		return pair[0] == "driver-type" && strings.HasPrefix(pair[1], "io.containerd.snapshotter")
	})
}

func unseen(info system.Info) error {
	return apperr.New(apperr.Unsupported,
		"the agent can't see the disk of the engine's images (%s on the engine's host); mount a folder of that disk for it and name it with engine-disk", info.DockerRootDir)
}
