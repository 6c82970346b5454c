package report

import (
	"slices"
	"strings"
	"time"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// What agents send may be anything. These make it fit to be stored, so that one
// agent's nonsense neither stops the agent nor the others of its batch.

// maxFactLines and maxFactLine bound the log lines of a fact.
const (
	maxFactLines = 50
	maxFactLine  = 1 << 10
	maxName      = 255
)

// saneContainers drops what has no engine id and mends the rest, in place.
func saneContainers(list []workload.Container) []workload.Container {
	kept := list[:0]
	for i := range list {
		c := &list[i]
		if c.EngineID == "" {
			continue
		}
		for _, text := range [...]*string{
			&c.EngineID, &c.ID.Prefix, &c.ID.Name, &c.DeploymentID, &c.InstanceID, &c.ImageName, &c.ImageTag, &c.ImageDigest,
			&c.Command, &c.Reason, &c.Health,
		} {
			if strings.IndexByte(*text, 0) >= 0 {
				*text = storable(*text)
			}
		}
		for n := range c.Ports {
			if strings.IndexByte(c.Ports[n].Protocol, 0) >= 0 {
				c.Ports[n].Protocol = storable(c.Ports[n].Protocol)
			}
		}
		if c.State != spec.StateRunning && c.State != spec.StateExited && c.State != spec.StateWaiting {
			c.State = spec.StateWaiting // a newer agent's word
		}
		for _, at := range [...]*time.Time{&c.CreatedAt, &c.StartedAt, &c.FinishedAt} {
			if sane := storableTime(*at); sane != *at {
				*at = sane
			}
		}
		if len(kept) == i {
			kept = list[:i+1]
		} else {
			kept = append(kept, *c)
		}
	}
	return kept
}

// once keeps the first of the containers that have the same engine id.
func once(list []workload.Container) []workload.Container {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(c workload.Container) bool {
		again := seen[c.EngineID]
		seen[c.EngineID] = true
		return again
	})
}

// saneFacts keeps facts that are numbered, in ascending order, above a number.
func saneFacts(list []Fact, above uint64, now time.Time) []Fact {
	var kept []Fact
	for _, f := range list {
		if f.Sequence <= above || f.Sequence > maxSequence {
			continue
		}
		above = f.Sequence
		f.Container.Prefix, f.Container.Name = short(f.Container.Prefix, maxName), short(f.Container.Name, maxName)
		f.EngineID = short(f.EngineID, maxName)
		if f.At = storableTime(f.At); f.At.IsZero() || f.At.After(now) {
			f.At = now // the node's clock is wrong
		}
		f.Lost = min(f.Lost, maxSequence)
		if f.Exit != nil {
			exit := *f.Exit
			exit.Reason = short(exit.Reason, maxFactLine)
			exit.LogTail = exit.LogTail[max(0, len(exit.LogTail)-maxFactLines):]
			exit.LogTail = slices.Clone(exit.LogTail)
			for i, line := range exit.LogTail {
				exit.LogTail[i] = short(line, maxFactLine)
			}
			f.Exit = &exit
		}
		kept = append(kept, f)
	}
	return kept
}

// maxSequence is the greatest number that PostgreSQL keeps.
const maxSequence = 1<<63 - 1

// storable returns text that PostgreSQL takes.
func storable(text string) string {
	if strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(text, "\x00", "\uFFFD")
}

func short(text string, most int) string {
	text = storable(text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// storableTime makes a time that no calendar has the zero time.
func storableTime(at time.Time) time.Time {
	if y := at.Year(); y < 1970 || y > 9999 {
		return time.Time{}
	}
	return at.UTC().Truncate(time.Microsecond)
}
