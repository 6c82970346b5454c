package route_test

import (
	"context"
	"sync/atomic"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/route"
)

// slowRemoval is an engine that is still at the removal that somebody asked it
// for when it is asked again.
type slowRemoval struct {
	*client.Client
	asked atomic.Int32
}

func (s *slowRemoval) ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error {
	if s.asked.Add(1) > 1 {
		return s.Client.ContainerRemove(ctx, id, options)
	}
	go func() { _ = s.Client.ContainerRemove(context.WithoutCancel(ctx), id, options) }()
	return cerrdefs.ErrConflict.WithMessage("removal of container " + id + " is already in progress")
}

// An edge whose removal is in progress already is waited for, and the next one
// takes its place.
func TestEdgeThatIsBeingRemovedIsWaitedFor(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "shop.test"))
	n.options.TrustedProxies = []string{"10.0.0.0/8"} // another edge is to be made
	engine := &slowRemoval{Client: n.engine}
	n.edge = route.NewEdge(engine, n.options)
	n.useRouter(n.edge)
	if err := n.driver.SyncRoutes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.edge.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if engine.asked.Load() == 0 {
		t.Error("no edge was removed")
	}
	n.serves("shop.test", "/", "release 1")
}
