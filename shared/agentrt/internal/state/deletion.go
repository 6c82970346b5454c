package state

import (
	"encoding/json"
	"fmt"
)

// fileDeletion says that the node was deleted. Install scripts look for it.
const fileDeletion = "deleted"

// Deletion is that the controller deleted the agent's node: the agent never
// connects again, and goes.
type Deletion struct {
	// Why is in the controller's words.
	Why string `json:"why"`
	// RemoveContainers: so the controller wants it. Done: there are none left.
	RemoveContainers bool `json:"removeContainers"`
	Done             bool `json:"done"`
}

// Deletion returns how the agent's node was deleted; ok is false when it was not.
func (d *Dir) Deletion() (deletion Deletion, ok bool, err error) {
	content, ok, err := d.read(fileDeletion)
	if err != nil || !ok {
		return deletion, ok, err
	}
	if err := json.Unmarshal(content, &deletion); err != nil {
		return deletion, true, fmt.Errorf("read %s: %w", fileDeletion, err)
	}
	return deletion, true, nil
}

// SetDeletion remembers it. When it returns nil that is on the disk.
func (d *Dir) SetDeletion(deletion Deletion) error {
	content, err := json.MarshalIndent(deletion, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", fileDeletion, err)
	}
	return d.write(fileDeletion, append(content, '\n'))
}
