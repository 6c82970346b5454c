package state

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
)

const (
	fileAssignments = "assignments.pb"
	fileBroken      = "assignments.broken"
	fileResults     = "results.json"
	fileBegun       = "begun.json"
	fileRevoked     = "revoked"
	fileSession     = "session"
)

// isWork reports whether a file is about the node's work: the controller tells
// it again, or it is found out again.
func isWork(name string) bool {
	switch name {
	case fileAssignments, fileBroken, fileResults, fileBegun, fileTrouble, fileEnrolError:
		return true
	default:
		return false
	}
}

// Assignments returns the stored set; an empty one, without lineage, when
// there is none. It fails with Invalid when the file is not what was written.
func (d *Dir) Assignments() (*agentv1.AssignmentSet, error) {
	set := &agentv1.AssignmentSet{}
	content, ok, err := d.read(fileAssignments)
	if err != nil || !ok {
		return set, err
	}
	if err := proto.Unmarshal(content, set); err != nil {
		return nil, apperr.Wrap(apperr.Invalid, err, "%s is broken", fileAssignments)
	}
	return set, d.openCredentials(set)
}

// DropAssignments puts a stored set aside that cannot be used, for people to
// look at.
func (d *Dir) DropAssignments() error {
	if err := d.rename(d.at(fileAssignments), d.at(fileBroken)); err != nil {
		return fmt.Errorf("put %s aside: %w", fileAssignments, err)
	}
	return d.syncFolder(d.path)
}

// SetAssignments stores the set. When it returns nil the set is on the disk.
func (d *Dir) SetAssignments(set *agentv1.AssignmentSet) error {
	sealed, err := d.sealCredentials(set)
	if err != nil {
		return fmt.Errorf("write %s: %w", fileAssignments, err)
	}
	content, err := proto.Marshal(sealed)
	if err != nil {
		return fmt.Errorf("write %s: %w", fileAssignments, err)
	}
	return d.write(fileAssignments, content)
}

// Results returns, by prefix, how the last finished assignment ended.
func (d *Dir) Results() (map[string]*agentv1.DeploymentStatus, error) {
	results := map[string]*agentv1.DeploymentStatus{}
	content, ok, err := d.read(fileResults)
	if err != nil || !ok {
		return results, err
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", fileResults, err)
	}
	lenient := protojson.UnmarshalOptions{DiscardUnknown: true} // a newer version may have written it
	for prefix, raw := range file {
		status := &agentv1.DeploymentStatus{}
		if err := lenient.Unmarshal(raw, status); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", fileResults, prefix, err)
		}
		results[prefix] = status
	}
	return results, nil
}

// Begun returns, by prefix, the generations that were begun with under a plan.
func (d *Dir) Begun() (map[string]uint64, error) {
	begun := map[string]uint64{}
	content, ok, err := d.read(fileBegun)
	if err != nil || !ok {
		return begun, err
	}
	if err := json.Unmarshal(content, &begun); err != nil {
		return nil, fmt.Errorf("read %s: %w", fileBegun, err)
	}
	return begun, nil
}

// SetBegun stores what Begun returns. When it returns nil it is on the disk.
func (d *Dir) SetBegun(begun map[string]uint64) error {
	content, err := json.Marshal(begun)
	if err != nil {
		return fmt.Errorf("write %s: %w", fileBegun, err)
	}
	return d.write(fileBegun, content)
}

// SetResults stores the results. When it returns nil they are on the disk.
func (d *Dir) SetResults(results map[string]*agentv1.DeploymentStatus) error {
	file := make(map[string]json.RawMessage, len(results))
	for prefix, status := range results {
		raw, err := protojson.Marshal(status)
		if err != nil {
			return fmt.Errorf("write %s of %s: %w", fileResults, prefix, err)
		}
		file[prefix] = raw
	}
	content, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("write %s: %w", fileResults, err)
	}
	return d.write(fileResults, content)
}

// Revoked returns why the agent was told to stop for good; ok is false when
// it was not.
func (d *Dir) Revoked() (reason string, ok bool, err error) {
	content, ok, err := d.read(fileRevoked)
	return string(content), ok, err
}

// SetRevoked remembers that the agent must not connect again.
func (d *Dir) SetRevoked(reason string) error { return d.write(fileRevoked, []byte(reason)) }

// SetHealthyUntil says until when the session counts as healthy unless it is
// said anew; the zero time says that it is not. It is not worth a sync.
func (d *Dir) SetHealthyUntil(t time.Time) error {
	if t.IsZero() {
		return d.remove(fileSession)
	}
	return d.writeLoosely(fileSession, []byte(t.UTC().Format(time.RFC3339Nano)))
}

// HealthyUntil returns what the agent that runs on the folder said last; zero
// when it has no session. It needs no lock.
func HealthyUntil(path string) (time.Time, error) {
	content, ok, err := (&Dir{path: path}).read(fileSession)
	if err != nil || !ok {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(content))
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", fileSession, err)
	}
	return t, nil
}
