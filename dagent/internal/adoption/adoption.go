// Package adoption remembers which containers of a node are deployments' though
// somebody else made them. The agent's own containers say so in their labels,
// which a container that runs cannot be given.
//
// The record is a file, on the disk before a container counts as adopted. Who
// loses it has containers of others again, which nobody stops or removes.
package adoption

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/durable"
)

// Ledger is the record of one node. Its methods may be called at the same time.
type Ledger struct {
	path string

	mu sync.Mutex
	is record
}

// Container is one that was adopted.
type Container struct {
	// ID is the engine's.
	ID string `json:"id"`
	// Labels are those that it would have if the agent had made it.
	Labels map[string]string `json:"labels"`
	// Volumes are the names of those that came with it.
	Volumes []string `json:"volumes"`
}

// record is what lies on the disk.
type record struct {
	// Containers are those that were adopted, by their ids.
	Containers map[string]Container `json:"containers"`
	// Volumes are those that came with containers which are gone.
	Volumes []string `json:"volumes"`
	// Acts holds, by prefix, the last act that adopted anything under it.
	Acts map[string]string `json:"acts"`
}

// Open reads the record in the file at path, which need not be there. It fails
// with Precondition when the file is not such a record.
func Open(path string) (*Ledger, error) {
	l := &Ledger{path: path, is: record{Containers: map[string]Container{}, Acts: map[string]string{}}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of adopted containers: %w", err)
	}
	var is record
	if err := json.Unmarshal(text, &is); err != nil || is.Containers == nil || is.Acts == nil {
		return nil, apperr.Wrap(apperr.Precondition, err,
			"read the record of adopted containers: %s is damaged; remove it, then they are somebody else's again and can be adopted anew", path)
	}
	l.is = is
	return l, nil
}

// Adopt notes that containers are the agent's from now on, by an act under a
// prefix. It is on the disk when Adopt returns.
func (l *Ledger) Adopt(prefix, act string, containers []Container) error {
	return l.change(func(is *record) bool {
		for _, c := range containers {
			c.Labels = maps.Clone(c.Labels)
			is.Containers[c.ID] = c
		}
		is.Acts[prefix] = act
		return true
	})
}

// Release notes that containers are gone. Their volumes stay the agent's.
func (l *Ledger) Release(ids ...string) error {
	return l.change(func(is *record) (changed bool) {
		for _, id := range ids {
			c, known := is.Containers[id]
			is.Volumes = append(is.Volumes, c.Volumes...)
			delete(is.Containers, id)
			changed = changed || known
		}
		slices.Sort(is.Volumes)
		is.Volumes = slices.Compact(is.Volumes)
		return changed
	})
}

// Undo takes an act back that has adopted containers under a prefix: they are
// somebody else's again.
func (l *Ledger) Undo(prefix string, ids ...string) error {
	return l.change(func(is *record) bool {
		for _, id := range ids {
			delete(is.Containers, id)
		}
		delete(is.Acts, prefix)
		return true
	})
}

// Labels are those of an adopted container; ok is false for others.
func (l *Ledger) Labels(id string) (labels map[string]string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.is.Containers[id]
	return maps.Clone(c.Labels), ok
}

// Containers returns the ids of those that were adopted.
func (l *Ledger) Containers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.is.Containers))
}

// HasVolume reports whether a volume came with an adopted container.
func (l *Ledger) HasVolume(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.is.Containers {
		if slices.Contains(c.Volumes, name) {
			return true
		}
	}
	return slices.Contains(l.is.Volumes, name)
}

// Done reports whether the act was the last that adopted anything under the
// prefix.
func (l *Ledger) Done(prefix, act string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.is.Acts[prefix] == act
}

// change writes the record when what was done changed it. What could not be
// written has not happened.
func (l *Ledger) change(do func(*record) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := record{maps.Clone(l.is.Containers), slices.Clone(l.is.Volumes), maps.Clone(l.is.Acts)}
	if !do(&next) {
		return nil
	}
	text, err := json.Marshal(next)
	if err == nil {
		err = durable.Replace(l.path, text)
	}
	if err != nil {
		return fmt.Errorf("write the record of adopted containers: %w", err)
	}
	l.is = next
	return nil
}
