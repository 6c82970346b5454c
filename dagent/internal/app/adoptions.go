package app

import (
	"log/slog"
	"path/filepath"

	"fairlead.dev/dagent/internal/adoption"
)

// fileAdopted is the record of adopted containers in the state folder.
const fileAdopted = "adopted.json"

// openAdoptions returns nil where it cannot be told which containers were
// adopted: they are somebody else's then, and the agent serves everything else.
func (c Config) openAdoptions(log *slog.Logger) *adoption.Ledger {
	ledger, err := adoption.Open(filepath.Join(c.StateDir, fileAdopted))
	if err != nil {
		log.Warn("no containers are adopted, and those that were are left alone", "error", err)
		return nil
	}
	return ledger
}
