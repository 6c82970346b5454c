package state

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"path/filepath"

	"fairlead.dev/shared/release"
)

const (
	fileUpdate = "update.json"
	fileProof  = "update.proof"
	// fileArchive is what an update has fetched; it may be large.
	fileArchive = "update.tar"
	// fileReleaseKeys has the keys that builds must be signed by: from the
	// install script, and those that followed them.
	fileReleaseKeys = "release-keys"
)

// Phase is how far an update has come.
type Phase string

// Phases of an update. Until Handover the agent that was there before holds the
// folder and is the only one that writes here. From Handover on it stands by,
// and whoever has locked the folder decides: the new agent goes on to Committed,
// the old one goes back to Failed.
const (
	Preparing  Phase = "preparing"
	Proving    Phase = "proving"
	Handover   Phase = "handover"
	Committed  Phase = "committed"
	Successful Phase = "successful"
	Failed     Phase = "failed"
)

// Final reports whether the update is over.
func (p Phase) Final() bool { return p == "" || p == Successful || p == Failed }

// Update is the agent's last replacement by another build; the zero value when
// there was none.
type Update struct {
	// ID is that of the command that asked for it.
	ID    string `json:"id"`
	Phase Phase  `json:"phase"`
	Error string `json:"error,omitempty"`
	From  string `json:"from"`
	To    string `json:"to"`
	// Digest is the artifact's, "sha256:" and hex.
	Digest string `json:"digest"`
	// Incumbent names the old agent as the engine knows it.
	Incumbent string `json:"incumbent,omitempty"`
	// Uncleared: what is left of it on the engine is still to be removed.
	Uncleared bool `json:"uncleared,omitempty"`
}

// ReadUpdate returns the last update of the agent that runs on the folder. It
// needs no lock.
func ReadUpdate(path string) (u Update, err error) {
	content, ok, err := (&Dir{path: path}).read(fileUpdate)
	if err != nil || !ok {
		return u, err
	}
	if err := json.Unmarshal(content, &u); err != nil {
		return Update{}, fmt.Errorf("read %s: %w", fileUpdate, err)
	}
	return u, nil
}

// SetUpdate notes how far an update has come. When it returns nil that is on
// the disk.
func (d *Dir) SetUpdate(u Update) error {
	content, err := json.MarshalIndent(u, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", fileUpdate, err)
	}
	return d.write(fileUpdate, content)
}

// Proof is what the candidate of an update leaves once it has proven itself.
type Proof struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// WriteProof leaves the candidate's proof. The candidate does not hold the
// folder; it writes nothing else.
func WriteProof(path string, p Proof) error {
	content, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write %s: %w", fileProof, err)
	}
	return (&Dir{path: path}).write(fileProof, content)
}

// Proof returns what the candidate left; the zero value when it left nothing.
func (d *Dir) Proof() (p Proof, err error) {
	content, ok, err := d.read(fileProof)
	if err != nil || !ok {
		return p, err
	}
	if err := json.Unmarshal(content, &p); err != nil {
		return Proof{}, fmt.Errorf("read %s: %w", fileProof, err)
	}
	return p, nil
}

// Archive is where an update's artifact is kept until it is loaded.
func (d *Dir) Archive() string { return filepath.Join(d.path, fileArchive) }

// ClearUpdate removes what an update needed on the disk.
func (d *Dir) ClearUpdate() error { return d.remove(fileProof, fileArchive, fileArchive+".part") }

// ReleaseKeys returns the keys that builds must be signed by; none when the
// install script left none.
func (d *Dir) ReleaseKeys() ([]ed25519.PublicKey, error) {
	text, _, err := d.read(fileReleaseKeys)
	if err != nil {
		return nil, err
	}
	keys, err := release.DecodeKeys(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fileReleaseKeys, err)
	}
	return keys, nil
}

// SetReleaseKeys keeps the keys that builds must be signed by.
func (d *Dir) SetReleaseKeys(keys []ed25519.PublicKey) error {
	return d.write(fileReleaseKeys, release.EncodeKeys(keys))
}
