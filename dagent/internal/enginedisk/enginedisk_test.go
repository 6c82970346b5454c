package enginedisk_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"

	"fairlead.dev/dagent/internal/enginedisk"
	"fairlead.dev/shared/apperr"
)

// engine is one that says where it keeps images and has one container.
type engine struct {
	info      system.Info
	err       error
	container string
}

func (e engine) Info(context.Context) (system.Info, error) { return e.info, e.err }

func (e engine) ContainerInspect(_ context.Context, id string) (container.InspectResponse, error) {
	if id != e.container {
		return container.InspectResponse{}, errors.New("no such container")
	}
	return container.InspectResponse{}, nil
}

func TestWhereTheDiskIsSeen(t *testing.T) {
	root := t.TempDir()
	classic := engine{info: system.Info{DockerRootDir: root}, container: "agent"}
	snapshots := engine{info: system.Info{DockerRootDir: root, DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}}}
	for _, c := range []struct {
		name   string
		config enginedisk.Config
		want   string // "" for nowhere
	}{
		{"named", enginedisk.Config{Engine: engine{err: errors.New("away")}, Folder: "/tmp"}, "/tmp"},
		{"on the engine's machine", enginedisk.Config{Engine: classic, Local: true}, root},
		{"on another machine", enginedisk.Config{Engine: classic}, ""},
		{"where the engine's folder is another's", enginedisk.Config{Engine: engine{info: system.Info{DockerRootDir: root + "/none"}}, Local: true}, ""},
		{"images in a folder that the engine does not name", enginedisk.Config{Engine: snapshots, Local: true}, ""},
		{"in a container of another engine", enginedisk.Config{Engine: classic, Self: "other", Local: true}, ""},
		{"engine away", enginedisk.Config{Engine: engine{err: errors.New("away")}, Local: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			free, folder, err := enginedisk.New(c.config).Free(t.Context())
			if c.want == "" {
				if err == nil {
					t.Errorf("found it at %s, want it not to be known", folder)
				}
				return
			}
			if err != nil || folder != c.want || free <= 0 {
				t.Errorf("%d bytes free at %s, %v, want some at %s", free, folder, err, c.want)
			}
		})
	}
}

func TestFullDiskIsRefused(t *testing.T) {
	var log bytes.Buffer
	config := enginedisk.Config{Engine: engine{info: system.Info{DockerRootDir: "/nonexistent"}}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, c := range []struct {
		name    string
		minFree int64
		folder  string
		refused bool
	}{
		{"enough", 1, t.TempDir(), false},
		{"not enough", math.MaxInt64, t.TempDir(), true},
		{"nothing demanded", 0, t.TempDir(), false},
		{"not known", math.MaxInt64, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := config
			config.MinFree, config.Folder = c.minFree, c.folder
			disk := enginedisk.New(config)
			for range 2 {
				err := disk.Admit(t.Context())
				if refused := apperr.Is(err, apperr.Precondition); refused != c.refused || !refused && err != nil {
					t.Errorf("%v, want it refused: %v", err, c.refused)
				}
				if c.refused && !strings.Contains(err.Error(), c.folder) {
					t.Errorf("%q does not name the disk", err)
				}
			}
		})
	}
	if n := strings.Count(log.String(), "without knowing"); n != 1 {
		t.Errorf("that nobody can know is said %d times, want once:\n%s", n, &log)
	}
}
