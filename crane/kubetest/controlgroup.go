//go:build linux

package kubetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const controlGroups = "/sys/fs/cgroup"

func dirPattern(pid int) string { return fmt.Sprintf("fairlead-kube-%d-*", pid) }

// groupOf names the control group of a run, below each hierarchy's root.
func groupOf(dir string) string { return filepath.Base(dir) }

// hierarchies returns where control groups are made: one folder for each
// hierarchy, or a single one where there is only one (version 2).
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(controlGroups, "cgroup.controllers")); err == nil {
		return []string{controlGroups}, nil
	}
	entries, err := os.ReadDir(controlGroups)
	if err != nil {
		return nil, fmt.Errorf("list the control groups: %w", err)
	}
	var all []string
	for _, entry := range entries {
		path := filepath.Join(controlGroups, entry.Name())
		// A folder of a hierarchy that this machine does not have is empty.
		_, err := os.Stat(filepath.Join(path, "cgroup.procs"))
		if err == nil && entry.IsDir() && entry.Name() != "unified" {
			all = append(all, path)
		}
	}
	return all, nil
}

// makeControlGroups makes the group below which kubelet makes those of pods.
func makeControlGroups(dir string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		group := filepath.Join(hierarchy, groupOf(dir))
		if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a control group (are control groups writable here?): %w", err)
		}
		// A new group of cpuset has no processor until it is given some.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(hierarchy, name))
			if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(value)) == "" {
				continue
			}
			if err != nil {
				return fmt.Errorf("read the processors of %s: %w", hierarchy, err)
			}
			if err := os.WriteFile(filepath.Join(group, name), value, 0o644); err != nil {
				return fmt.Errorf("give processors to the cluster: %w", err)
			}
		}
	}
	return nil
}

// removeControlGroups removes what makeControlGroups and kubelet made. Groups
// are empty once the namespaces are gone.
func removeControlGroups(dir string) {
	// Also where this package made none: the runtime makes one in each hierarchy.
	roots, err := filepath.Glob(filepath.Join(controlGroups, "*", groupOf(dir)))
	if err != nil {
		return
	}
	for _, root := range append(roots, filepath.Join(controlGroups, groupOf(dir))) {
		var groups []string
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for i := len(groups) - 1; i >= 0; i-- {
			_ = os.Remove(groups[i]) // the next run tries again
		}
	}
}

// removeAll removes the folder of a run, with whatever is still mounted in it.
func removeAll(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "kubetest: remove the folder of the cluster:", err)
	}
}

// sweep removes what runs that were killed have left: folders and groups.
func sweep() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "fairlead-kube-*-*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		_, rest, _ := strings.Cut(filepath.Base(dir), "fairlead-kube-")
		number, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(number)
		if err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		removeControlGroups(dir)
		removeAll(dir)
	}
}
