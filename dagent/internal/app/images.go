package app

import (
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/enginedisk"
	"fairlead.dev/dagent/internal/imageledger"
	"fairlead.dev/dagent/internal/selfupdate"
)

// fileImages is the record of images in the state folder.
const fileImages = "images.json"

// Images says which images stay on the engine and when none is pulled.
type Images struct {
	// KeepReleases is how many releases of each deployment keep their images;
	// 0 removes no image ever.
	KeepReleases int
	// MinFreeDisk is how many bytes must be free on the engine's disk for an
	// image to be pulled; 0 demands none.
	MinFreeDisk int64
	// EngineDisk is a folder on the disk of the engine's images; "" lets the
	// agent find it.
	EngineDisk string
}

// openImages returns nil where no image is to be removed, or none can be told
// from somebody else's: the agent serves everything else.
func (c Config) openImages(log *slog.Logger) *imageledger.Ledger {
	if c.Images.KeepReleases <= 0 {
		return nil
	}
	ledger, err := imageledger.Open(filepath.Join(c.StateDir, fileImages), c.Images.KeepReleases)
	if err != nil {
		log.Warn("no images are removed", "error", err)
		return nil
	}
	return ledger
}

// disk is where the engine keeps images.
func (c Config) disk(engine *client.Client, log *slog.Logger) *enginedisk.Disk {
	return enginedisk.New(enginedisk.Config{
		Engine: engine, Folder: c.Images.EngineDisk, Self: selfupdate.Container(), MinFree: c.Images.MinFreeDisk,
		Local: strings.HasPrefix(engine.DaemonHost(), "unix:"), Log: log,
	})
}
