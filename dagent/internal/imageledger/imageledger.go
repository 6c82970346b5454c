// Package imageledger remembers which images an agent has brought to its node,
// and which images the last releases of each deployment run. What it brought
// and no such release runs may be removed; nothing else may.
//
// The record is a file. Who loses it removes too little, never too much.
package imageledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/durable"
)

// Ledger is the record of one node. Its methods may be called at the same time.
type Ledger struct {
	path string
	keep int

	mu sync.Mutex
	is record
}

// record is what lies on the disk.
type record struct {
	// Brought holds, by the engine's id of an image, the references that it
	// was pulled by.
	Brought map[string][]string `json:"brought"`
	// Releases holds, by prefix, what was run last, the newest first.
	Releases map[string][]release `json:"releases"`
}

type release struct {
	Deployment string   `json:"deployment"`
	Number     int64    `json:"number"`
	Images     []string `json:"images"`
}

// Open reads the record in the file at path, which need not be there, and keeps
// the images of the last keep releases under each prefix; at least one. It fails
// with Precondition when the file is not such a record.
func Open(path string, keep int) (*Ledger, error) {
	l := &Ledger{path: path, keep: max(keep, 1), is: record{Brought: map[string][]string{}, Releases: map[string][]release{}}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of images: %w", err)
	}
	var is record
	if err := json.Unmarshal(text, &is); err != nil || is.Brought == nil || is.Releases == nil {
		return nil, apperr.Wrap(apperr.Precondition, err,
			"read the record of images: %s is damaged; remove it, then images pulled so far are never pruned", path)
	}
	l.is = is
	return l, nil
}

// Keep tells how many releases' images are kept.
func (l *Ledger) Keep() int { return l.keep }

// Bring notes that the agent pulled an image by a reference, and that it was not
// on the node before. An image that was brought before gets one more reference.
func (l *Ledger) Bring(id, reference string) error {
	return l.change(func() bool {
		if slices.Contains(l.is.Brought[id], reference) {
			return false
		}
		l.is.Brought[id] = append(l.is.Brought[id], reference)
		return true
	})
}

// Has reports whether the agent brought the image.
func (l *Ledger) Has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.is.Brought[id]) > 0
}

// ByReference returns the images that were brought by a reference.
func (l *Ledger) ByReference(reference string) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, references := range l.is.Brought {
		if slices.Contains(references, reference) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Release notes which images a release runs that is in place under a prefix. The
// oldest of more than Keep releases is forgotten.
func (l *Ledger) Release(prefix, deployment string, number int64, images []string) error {
	images = slices.Clone(images)
	slices.Sort(images)
	fresh := release{deployment, number, slices.Compact(images)}
	return l.change(func() bool {
		known := l.is.Releases[prefix]
		if len(known) > 0 && known[0].same(fresh) && slices.Equal(known[0].Images, fresh.Images) {
			return false
		}
		known = slices.DeleteFunc(slices.Clone(known), fresh.same)
		known = slices.Insert(known, 0, fresh)
		l.is.Releases[prefix] = known[:min(len(known), l.keep)]
		return true
	})
}

func (r release) same(other release) bool {
	return r.Deployment == other.Deployment && r.Number == other.Number
}

// ForgetPrefix forgets the releases under a prefix, where nothing runs any more.
func (l *Ledger) ForgetPrefix(prefix string) error {
	return l.change(func() bool {
		_, known := l.is.Releases[prefix]
		delete(l.is.Releases, prefix)
		return known
	})
}

// ForgetImages forgets images that are not on the node any more.
func (l *Ledger) ForgetImages(ids []string) error {
	return l.change(func() (changed bool) {
		for _, id := range ids {
			_, known := l.is.Brought[id]
			delete(l.is.Brought, id)
			changed = changed || known
		}
		return changed
	})
}

// Unneeded returns the images that were brought and that none of the last
// releases runs, with the references that they were pulled by.
func (l *Ledger) Unneeded() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	unneeded := map[string][]string{}
	for id, references := range l.is.Brought {
		unneeded[id] = slices.Clone(references)
	}
	for _, releases := range l.is.Releases {
		// The record may have been written with a larger number to keep.
		for _, r := range releases[:min(len(releases), l.keep)] {
			for _, id := range r.Images {
				delete(unneeded, id)
			}
		}
	}
	return unneeded
}

// change writes the record when what was done changed it.
func (l *Ledger) change(do func() bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !do() {
		return nil
	}
	text, err := json.Marshal(l.is)
	if err != nil {
		return fmt.Errorf("write the record of images: %w", err)
	}
	if err := durable.Replace(l.path, text); err != nil {
		return fmt.Errorf("write the record of images: %w", err)
	}
	return nil
}
