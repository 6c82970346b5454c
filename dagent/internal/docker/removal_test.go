package docker_test

import (
	"context"
	"fmt"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
)

// goingEngine is an engine on which somebody else is always quicker to remove.
type goingEngine struct{ *client.Client }

func (e goingEngine) ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error {
	if err := e.Client.ContainerRemove(ctx, id, options); err != nil {
		return err
	}
	return fmt.Errorf("removal of container %s is already in progress: %w", id, cerrdefs.ErrConflict)
}

func TestRemovalThatIsUnderWayAlreadyIsWaitedFor(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(greet("one"))))
	driver := docker.New(goingEngine{s.engine}, quick())
	if err := driver.Apply(t.Context(), s.release(2, web(greet("two"))), s); err != nil {
		t.Fatal(err)
	}
	if found := s.containers(); len(found) != 1 || found["web"].Release != 2 {
		t.Errorf("containers are %+v, want web of release 2 alone", found)
	}
	if err := driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	if found := s.containers(); len(found) != 0 {
		t.Errorf("containers are %+v, want none", found)
	}
}
