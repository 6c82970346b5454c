package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Record keeps one value in a file, as JSON. It is used by one goroutine at a
// time.
type Record[T any] struct{ path, what string }

// NewRecord returns the record in the file at path, which need not be there.
// What says in errors what it is of.
func NewRecord[T any](path, what string) *Record[T] { return &Record[T]{path, what} }

// Load reads the value; the zero value when there is no file. A file that makes
// no sense is an error.
func (r *Record[T]) Load() (value T, err error) {
	content, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return value, nil
	}
	if err != nil {
		return value, fmt.Errorf("read the record of %s: %w", r.what, err)
	}
	if err := json.Unmarshal(content, &value); err != nil {
		var none T
		return none, fmt.Errorf("read the record of %s in %s: %w", r.what, r.path, err)
	}
	return value, nil
}

// Save writes the value down; the file is whole whenever it is read.
func (r *Record[T]) Save(value T) error {
	content, err := json.Marshal(value)
	if err == nil {
		err = Replace(r.path, content)
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", r.what, err)
	}
	return nil
}
