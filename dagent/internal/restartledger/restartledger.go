// Package restartledger keeps in a file how often containers were restarted by
// the agent, so that an agent that starts goes on with the same pauses.
package restartledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/durable"
)

// Ledger is one file. It is used by one goroutine at a time.
type Ledger struct{ path string }

var _ docker.RestartStore = (*Ledger)(nil)

// New returns the ledger at path, which need not be there.
func New(path string) *Ledger { return &Ledger{path} }

// Load reads the restarts, by engine id. A file that makes no sense is an error.
func (l *Ledger) Load() (map[string]docker.RestartRecord, error) {
	content, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of restarts: %w", err)
	}
	var restarts map[string]docker.RestartRecord
	if err := json.Unmarshal(content, &restarts); err != nil {
		return nil, fmt.Errorf("read the record of restarts %s: %w", l.path, err)
	}
	return restarts, nil
}

// Save writes the restarts down; the file is whole whenever it is read.
func (l *Ledger) Save(restarts map[string]docker.RestartRecord) error {
	content, err := json.Marshal(restarts)
	if err != nil {
		return fmt.Errorf("write the record of restarts: %w", err)
	}
	if err := durable.Replace(l.path, content); err != nil {
		return fmt.Errorf("write the record of restarts: %w", err)
	}
	return nil
}
