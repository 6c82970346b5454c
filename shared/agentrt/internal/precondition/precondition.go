// Package precondition checks what must hold when an agent begins something
// that it was asked for.
package precondition

import (
	"context"
	"slices"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Checker knows the node as it is.
type Checker struct {
	// List lists the node's containers.
	List func(context.Context) ([]workload.Container, error)
	// Generation is of the set the agent holds.
	Generation func() uint64
}

// Check fails with Precondition, and says what is otherwise, when something
// about the container or the node is not as it must be; with the engine's error
// when that cannot be found out.
func (c Checker) Check(ctx context.Context, want *agentv1.Precondition, id workload.ContainerID) error {
	if generation := want.GetGeneration(); generation != 0 {
		if held := c.Generation(); held != generation {
			return apperr.New(apperr.Precondition, "the node holds generation %d of its assignments, the command is for generation %d", held, generation)
		}
	}
	if want.GetEngineId() == "" {
		return nil
	}
	containers, err := c.List(ctx)
	if err != nil {
		return err
	}
	name := spec.ContainerName(id.Prefix, id.Name)
	i := slices.IndexFunc(containers, func(c workload.Container) bool { return c.ID == id })
	if i < 0 {
		return apperr.New(apperr.Precondition, "there is no container %s any more", name)
	}
	if containers[i].EngineID != want.GetEngineId() {
		return apperr.New(apperr.Precondition, "container %s is another one by now: it was replaced", name)
	}
	return nil
}
