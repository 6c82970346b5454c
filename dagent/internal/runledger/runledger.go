// Package runledger keeps in a file which containers were seen running and when
// the engine was lost, so that an agent that ends with its engine knows
// afterwards what ran.
package runledger

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

var _ docker.RunStore = (*Ledger)(nil)

// New returns the ledger at path, which need not be there.
func New(path string) *Ledger { return &Ledger{path} }

// Load reads what ran. A file that makes no sense is an error.
func (l *Ledger) Load() (docker.Runs, error) {
	content, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return docker.Runs{}, nil
	}
	if err != nil {
		return docker.Runs{}, fmt.Errorf("read the record of what runs: %w", err)
	}
	var runs docker.Runs
	if err := json.Unmarshal(content, &runs); err != nil {
		return docker.Runs{}, fmt.Errorf("read the record of what runs %s: %w", l.path, err)
	}
	return runs, nil
}

// Save writes down what runs; the file is whole whenever it is read.
func (l *Ledger) Save(runs docker.Runs) error {
	content, err := json.Marshal(runs)
	if err != nil {
		return fmt.Errorf("write the record of what runs: %w", err)
	}
	if err := durable.Replace(l.path, content); err != nil {
		return fmt.Errorf("write the record of what runs: %w", err)
	}
	return nil
}
