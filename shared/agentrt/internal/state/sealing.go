package state

import (
	"fmt"

	"fairlead.dev/shared/seal"
)

const fileSealing = "identity/sealing.key"

// SealingKey returns the key that opens the node's secrets. It is made when
// there is none, and never leaves the folder.
func (d *Dir) SealingKey() (seal.Key, error) {
	content, ok, err := d.read(fileSealing)
	if err != nil {
		return seal.Key{}, err
	}
	if ok {
		key, err := seal.ParseKey(string(content))
		if err != nil {
			return seal.Key{}, fmt.Errorf("read %s: %w", fileSealing, err)
		}
		return key, nil
	}
	key, err := seal.NewKey()
	if err != nil {
		return seal.Key{}, err
	}
	return key, d.write(fileSealing, []byte(key.Private()))
}
