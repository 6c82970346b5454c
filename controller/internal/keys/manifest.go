package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/pki"
)

// The first root of an installation is root.key and root.crt; later ones carry
// the beginning of their digest in the name. roots.json says which of them is
// what, and is there once there was a second root.
const (
	fileManifest = "roots.json"
	firstRoot    = "root"
)

type manifest struct {
	Roots []manifestRoot `json:"roots"`
}

type manifestRoot struct {
	SHA256 string     `json:"sha256"`
	File   string     `json:"file"`
	State  root.State `json:"state"`
	Since  time.Time  `json:"since"`
}

// OpenRoots reads the roots in a folder that has some, judging time by now.
func OpenRoots(dir string, now func() time.Time) (*Roots, error) {
	raw, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, firstRoot+".crt")); raw == nil && err != nil {
		return nil, fmt.Errorf("there is no private root in %s: is this the folder of the controller? %w", dir, err)
	}
	return openRoots(dir, now)
}

// openRoots reads the roots in dir, or makes the first one.
func openRoots(dir string, now func() time.Time) (*Roots, error) {
	r := &Roots{dir: dir, now: now}
	raw, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		strays, err := filepath.Glob(filepath.Join(dir, "root-*.crt"))
		if err != nil {
			return nil, err
		}
		if len(strays) > 0 {
			return nil, fmt.Errorf("%s is missing, and %s shows that there were several roots: put it back from the backup",
				filepath.Join(dir, fileManifest), strays[0])
		}
		if _, err := openAuthority(filepath.Join(dir, firstRoot+".key"), filepath.Join(dir, firstRoot+".crt")); err != nil {
			return nil, err
		}
	}
	return r, r.load(raw)
}

// readManifest returns nil when there is no manifest.
func readManifest(dir string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(dir, fileManifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which roots there are: %w", err)
	}
	return raw, nil
}

// readRoots reads what a manifest names; without one, the first root alone.
func readRoots(dir string, raw []byte) ([]held, error) {
	m := manifest{Roots: []manifestRoot{{File: firstRoot, State: root.Current}}}
	if raw != nil {
		m = manifest{}
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, fileManifest), err)
		}
	}
	var list []held
	signing := 0
	for _, entry := range m.Roots {
		if filepath.Base(entry.File) != entry.File {
			return nil, fmt.Errorf("%s names a file outside of its folder: %q", fileManifest, entry.File)
		}
		authority, err := readAuthority(filepath.Join(dir, entry.File+".key"), filepath.Join(dir, entry.File+".crt"))
		if err != nil {
			return nil, err
		}
		pin := pki.PinOf(authority.Root).String()
		if raw != nil && pin != entry.SHA256 {
			return nil, fmt.Errorf("%s.crt is not the root that %s names", filepath.Join(dir, entry.File), fileManifest)
		}
		if entry.State == root.Current {
			signing++
		}
		list = append(list, held{
			Root:      root.Root{SHA256: pin, State: entry.State, Since: entry.Since, NotAfter: authority.Root.NotAfter},
			file:      entry.File,
			authority: authority,
		})
	}
	if signing != 1 || len(list) > pki.MaxRoots {
		return nil, fmt.Errorf("%s has %d roots of which %d are current; want 1 current, %d in all at most",
			filepath.Join(dir, fileManifest), len(list), signing, pki.MaxRoots)
	}
	return list, nil
}

func (m manifest) encode() ([]byte, error) {
	raw, err := json.MarshalIndent(m, "", "  ")
	return append(raw, '\n'), err
}

func manifestOf(list []held) manifest {
	var m manifest
	for _, h := range list {
		m.Roots = append(m.Roots, manifestRoot{SHA256: h.SHA256, File: h.file, State: h.State, Since: h.Since})
	}
	return m
}
