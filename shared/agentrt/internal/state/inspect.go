package state

import (
	"strings"
)

// Inspection is what there is in a state folder, for who looks for the cause of
// a trouble.
type Inspection struct {
	// Identity is the agent's, if Enrolled.
	Identity Identity
	Enrolled bool
	// Enrolment is what an install script left, if Asked.
	Enrolment Enrolment
	Asked     bool
	// EnrolmentError is why enrolment was refused; empty when it was not.
	EnrolmentError string
	// Revoked is why the agent must not connect; empty when it may.
	Revoked string
	// Deleted: the agent's node was deleted.
	Deleted bool
}

// Inspect reads a state folder without taking it: an agent may run on it.
func Inspect(path string) (i Inspection, err error) {
	d := &Dir{path: path}
	if i.Identity, i.Enrolled, err = d.Identity(); err != nil {
		return i, err
	}
	if i.Enrolment, i.Asked, err = d.Enrolment(); err != nil {
		return i, err
	}
	refused, _, err := d.read(fileEnrolError)
	if err != nil {
		return i, err
	}
	i.EnrolmentError = strings.TrimSpace(string(refused))
	if _, i.Deleted, err = d.Deletion(); err != nil {
		return i, err
	}
	reason, revoked, err := d.Revoked()
	if revoked && reason == "" {
		reason = "no reason given"
	}
	if revoked {
		i.Revoked = strings.TrimSpace(reason)
	}
	return i, err
}
