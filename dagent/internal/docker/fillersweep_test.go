package docker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/enginetest"
	"fairlead.dev/shared/spec"
)

// Each version of the agent makes an image of its filler. The last two stay.
func TestImagesOfEarlierFillersAreRemoved(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Options{})
	s := on(t, e, quick())
	program, err := os.ReadFile(*programFile.Load())
	if err != nil {
		t.Fatal(err)
	}
	for version := range 4 {
		file := filepath.Join(t.TempDir(), "filler")
		if err := os.WriteFile(file, append(bytes.Clone(program), byte(version)), 0o600); err != nil {
			t.Fatal(err)
		}
		options := quick()
		options.Filler = docker.Filler{Program: file, Words: []string{"fill"}}
		s.driver = docker.New(s.engine, options)
		s.apply(s.release(int64(version+1), web(func(c *spec.Container) {
			c.Environment = []spec.KeyValue{{Key: "VERSION", Value: string(rune('a' + version))}}
			c.Volumes = []spec.Volume{{Name: "config", Path: "/config"}}
			c.ConfigContainer = &spec.ConfigContainer{Image: programImage, Volume: "config", Path: "/bin"}
		})))
		list, err := s.engine.ImageList(t.Context(), image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", "fairlead/filler"))})
		if err != nil {
			t.Fatal(err)
		}
		if want := min(version+1, 2); len(list) != want {
			t.Errorf("after version %d there are %d images of fillers, want %d", version+1, len(list), want)
		}
	}
}
