package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"fairlead.dev/shared/spec"
)

// Action is what a plan does with a workload.
type Action string

// Actions.
const (
	// ActionCreate makes containers where there are none.
	ActionCreate Action = "create"
	// ActionReplace brings new containers up beside the old and then switches.
	ActionReplace Action = "replace"
	// ActionRecreate stops the old containers before new ones start.
	ActionRecreate Action = "recreate"
	// ActionKeep changes nothing, but starts what is stopped.
	ActionKeep Action = "keep"
	// ActionScale keeps containers and makes more, or retires some.
	ActionScale Action = "scale"
	// ActionAdopt makes a container that runs already, and that somebody else
	// made, the workload's, as it is. With Changes the container is not what the
	// deployment asks for, and Apply refuses to adopt it.
	ActionAdopt Action = "adopt"
	// ActionRetire stops and removes containers the deployment does not name.
	ActionRetire Action = "retire"
)

// Plan is what applying a deployment does to a node, workload by workload: those
// of the deployment in their order, then those it no longer names, by name.
type Plan struct {
	Workloads []PlannedWorkload
}

// PlannedWorkload is what becomes of one workload.
type PlannedWorkload struct {
	// Name is the workload's below the prefix.
	Name string
	// InstanceID is the deployment's; for ActionRetire that which the container
	// was made for.
	InstanceID string
	Action     Action
	// ReplicasNow are there, ReplicasThen will be.
	ReplicasNow, ReplicasThen int
	// Starts is true when containers that are kept are stopped and will be
	// started.
	Starts bool
	// Changes are the keys of the configuration whose values differ, as the API
	// calls them, such as "environment.GREETING" or "image"; never values. It is
	// what can be seen on the engine and may not be all.
	Changes []string
	// Image is the reference that is asked for. DigestNow is what its containers
	// run and DigestThen what they will; empty where the engine knows none.
	Image                 string
	DigestNow, DigestThen string
	// Downtime says why the workload cannot be replaced without one; empty
	// when it can.
	Downtime []string
	// Notes say what the driver does otherwise than asked, or not at all.
	Notes []string
	// SpecHash is of what is asked for, empty for ActionRetire.
	SpecHash string
	// Containers are the engine ids of what is there now.
	Containers []string
	// Hooks are those that will run, in their order.
	Hooks []spec.HookKind
}

// Downtime reports whether any workload cannot avoid one.
func (p Plan) Downtime() bool {
	for _, w := range p.Workloads {
		if len(w.Downtime) > 0 {
			return true
		}
	}
	return false
}

// Empty reports whether the plan changes nothing.
func (p Plan) Empty() bool {
	for _, w := range p.Workloads {
		if w.Action != ActionKeep || w.Starts {
			return false
		}
	}
	return true
}

// Hash identifies the plan: two with the same hash do the same to the same
// containers. It is SHA-256 in hex and does not depend on the release's number.
func (p Plan) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%#v", p.Workloads) // every field counts, and none is a pointer
	return hex.EncodeToString(h.Sum(nil))
}
