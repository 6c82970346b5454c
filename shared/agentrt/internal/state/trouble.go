package state

import (
	"fmt"
	"strings"
	"time"
)

// fileTrouble says why the agent has no session, for who looks on the node.
const fileTrouble = "trouble"

// SetTrouble notes since when and why there is no session; an empty text says
// that there is one. It is not worth a sync.
func (d *Dir) SetTrouble(at time.Time, text string) error {
	if text == "" {
		return d.remove(fileTrouble)
	}
	return d.writeLoosely(fileTrouble, []byte(at.UTC().Format(time.RFC3339)+"\n"+text+"\n"))
}

// Trouble returns what the agent that runs on the folder noted last; an empty
// text when there is nothing. It needs no lock.
func Trouble(path string) (at time.Time, text string, err error) {
	content, ok, err := (&Dir{path: path}).read(fileTrouble)
	if err != nil || !ok {
		return time.Time{}, "", err
	}
	head, text, _ := strings.Cut(string(content), "\n")
	if at, err = time.Parse(time.RFC3339, head); err != nil {
		return time.Time{}, "", fmt.Errorf("read %s: %w", fileTrouble, err)
	}
	return at, strings.TrimSpace(text), nil
}
