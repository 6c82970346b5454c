package version

import (
	"slices"

	"fairlead.dev/controller/internal/deployment"
)

// Facts are what decides what may be done with a version.
type Facts struct {
	Type Type
	// Hidden: it is the only version of a versionless project.
	Hidden bool
	// HasChild: an incremental version was made from it.
	HasChild bool
	// Assigned: a node is asked to run a release of one of its deployments.
	Assigned bool
	// Deployments has the states of its deployments, each once.
	Deployments []deployment.State
}

// State says what may be done with a version.
type State struct {
	// Increasable: a next version can be made from it.
	Increasable bool
	// Mutable: its images and it itself may be changed.
	Mutable bool
	// Deletable: it may be deleted.
	Deletable bool
}

// State returns what may be done with a version of these facts. An incremental
// version is frozen by its first deployment that got anywhere and by having a
// child; a rolling one is never frozen. Nothing is deleted that a node is asked
// to run, that was part of a history, or that a project can't be without.
func (f Facts) State() State {
	frozen := slices.ContainsFunc(f.Deployments, f.freezes)
	incremental := f.Type == Incremental
	increasable := incremental && !f.HasChild
	return State{
		Increasable: increasable,
		Mutable:     !incremental || increasable && !frozen,
		Deletable:   !frozen && !f.Assigned && !f.Hidden && (!incremental || increasable),
	}
}

// freezes reports whether a deployment in a state is one that a version of
// this type can't be changed under.
func (f Facts) freezes(s deployment.State) bool {
	switch s {
	case deployment.Preparing, deployment.Failed:
		return false
	case deployment.Successful:
		return f.Type == Incremental
	default:
		return true
	}
}
