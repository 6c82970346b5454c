package main

import (
	"cmp"
	"flag"
	"fmt"
	"strconv"

	"github.com/docker/go-units"

	"fairlead.dev/dagent/internal/app"
)

// imageValues are the flags about the engine's images, as text.
type imageValues struct {
	keep, minFree, disk *string
}

func imageFlags(flags *flag.FlagSet, getenv func(string) string) imageValues {
	text := func(name, variable, value, usage string) *string {
		return flags.String(name, cmp.Or(getenv(variable), value), usage+" ("+variable+")")
	}
	return imageValues{
		keep:    text("keep-releases", "DAGENT_KEEP_RELEASES", "3", "`number` of releases of each deployment whose images stay, of those that the agent pulled; 0 removes no image ever"),
		minFree: text("min-free-disk", "DAGENT_MIN_FREE_DISK", "1GiB", "`size` that must be free on the engine's disk for an image to be pulled; 0 demands none"),
		disk:    text("engine-disk", "DAGENT_ENGINE_DISK", "", "`folder` on the disk of the engine's images, where the agent can't find it itself"),
	}
}

func (v imageValues) images() (app.Images, error) {
	i := app.Images{EngineDisk: *v.disk}
	keep, err := strconv.ParseUint(*v.keep, 10, 16)
	if err != nil {
		return i, fmt.Errorf("keep-releases: %q is not a number of releases", *v.keep)
	}
	i.KeepReleases = int(keep)
	if i.MinFreeDisk, err = units.RAMInBytes(*v.minFree); err != nil || i.MinFreeDisk < 0 {
		return i, fmt.Errorf("min-free-disk: %q is not a size such as 500MiB", *v.minFree)
	}
	return i, nil
}
