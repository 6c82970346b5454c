package app

import (
	"log/slog"
	"path/filepath"

	"fairlead.dev/dagent/internal/keptlog"
)

const (
	// folderLogs is where in the state folder logs of removed containers are.
	folderLogs = "logs"
	// maxLogs bounds all of them, compressed, in bytes.
	maxLogs = 64 << 20
)

// openLogs returns nil where logs can't be kept: the agent serves everything
// else.
func (c Config) openLogs(log *slog.Logger) *keptlog.Store {
	store, err := keptlog.Open(filepath.Join(c.StateDir, folderLogs), maxLogs)
	if err != nil {
		log.Warn("logs of removed containers are not kept", "error", err)
		return nil
	}
	return store
}
