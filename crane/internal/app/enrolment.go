package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// fileEnrol is where the agent's runtime looks for what to enrol with, and
	// removes it when it is of no more use.
	fileEnrol = "enrol.json"
	// fileRefusal is where it leaves why the controller refused for good.
	fileRefusal = "enrol-error"
	// fileRefused has the sum of an enrolment that was refused for good.
	fileRefused = "refused"
)

// enrolment is what the install script hands over in a file that the agent
// cannot remove: a secret of the cluster.
type enrolment struct{ file, folder string }

// offer puts the enrolment where the agent looks for it, unless it was refused
// for good before.
func (e enrolment) offer() error {
	content, err := e.read()
	if err != nil || content == nil {
		return err
	}
	refused, err := os.ReadFile(filepath.Join(e.folder, fileRefused))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which enrolment was refused: %w", err)
	}
	if strings.TrimSpace(string(refused)) == sumOf(content) {
		return nil
	}
	if err := os.MkdirAll(e.folder, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(e.folder, fileEnrol), content, 0o600); err != nil {
		return fmt.Errorf("take the enrolment over: %w", err)
	}
	return nil
}

// settle notes an enrolment that was refused for good, so that it is not tried
// for ever.
func (e enrolment) settle() error {
	content, err := e.read()
	if err != nil || content == nil {
		return err
	}
	if e.has(fileEnrol) || !e.has(fileRefusal) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(e.folder, fileRefused), []byte(sumOf(content)+"\n"), 0o600); err != nil {
		return fmt.Errorf("note that the enrolment was refused: %w", err)
	}
	return nil
}

// has reports whether the state folder has a file.
func (e enrolment) has(name string) bool {
	_, err := os.Stat(filepath.Join(e.folder, name))
	return err == nil
}

// read returns nil when there is no enrolment.
func (e enrolment) read() ([]byte, error) {
	if e.file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(e.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the enrolment: %w", err)
	}
	return content, nil
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
