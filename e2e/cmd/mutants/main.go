// Command mutants switches the guards of the agent link off, one at a time, and
// expects the test that is named for each to fail: a guard without such a test
// could go without anybody noticing. Nothing is changed on the disk: the go
// command is given an overlay. It runs in the root of the repository.
//
//	mutants [-quick] [name...]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long one mutant may live: a test that hangs has noticed.
const patience = 5 * time.Minute

func main() {
	quick := flag.Bool("quick", false, "only those that need no database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	survivors, err := run(ctx, *quick, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if survivors > 0 {
		fmt.Fprintf(os.Stderr, "mutants: %d survived\n", survivors)
		os.Exit(1)
	}
}

func run(ctx context.Context, quick bool, names []string) (survivors int, err error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var broken []error
	for _, m := range mutants() {
		if quick && !m.quick || len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		began := time.Now()
		by, err := m.killed(ctx, root, dir)
		switch {
		case ctx.Err() != nil:
			return survivors, ctx.Err()
		case err != nil:
			broken = append(broken, fmt.Errorf("%s: %w", m.name, err))
		case by == "":
			survivors++
			fmt.Printf("SURVIVED  %-20s %s does not notice that %s\n", m.name, m.test, m.what)
		default:
			fmt.Printf("killed    %-20s by %s in %.0f s\n", m.name, by, time.Since(began).Seconds())
		}
	}
	return survivors, errors.Join(broken...)
}

// killed runs the mutant's test and returns which test failed, "" when none
// did. A mutant that cannot be made or does not compile is an error.
func (m mutant) killed(ctx context.Context, root, dir string) (by string, err error) {
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "test", "-v", "-count=1", "-timeout=4m", "-overlay="+overlay, "-run", "^("+m.test+")$", "./"+m.pkg)
	command.Dir = root
	said, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && !bytes.Contains(said, []byte("--- PASS: ")):
		return "", fmt.Errorf("there is no test %s in %s", m.test, m.pkg)
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	}
	for line := range strings.Lines(string(said)) {
		if _, name, ok := strings.Cut(line, "--- FAIL: "); ok {
			return strings.Fields(name)[0], nil
		}
		if strings.HasPrefix(line, "panic: ") {
			return "a panic", nil
		}
	}
	return "", fmt.Errorf("no test failed, and yet: %s", said)
}

// overlay writes the files without the guard, and the list that tells the go
// command to take them; it returns the list's name.
func (m mutant) overlay(root, dir string) (string, error) {
	replace := map[string]string{}
	for i, e := range m.edits {
		file := filepath.Join(root, e.file)
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(content, []byte(e.guard)); n != 1 {
			return "", fmt.Errorf("%s has the guard %d times, want once: %s", e.file, n, e.guard)
		}
		replace[file] = filepath.Join(dir, fmt.Sprintf("%s-%d.go", m.name, i))
		if err := os.WriteFile(replace[file], bytes.Replace(content, []byte(e.guard), []byte(e.without), 1), 0o600); err != nil { //nolint:gosec // the names are those of the list
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, m.name+".json")
	return list, os.WriteFile(list, overlay, 0o600)
}
