package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// sight follows what happens in one namespace, or in all.
type sight struct {
	factory informers.SharedInformerFactory
	cancel  context.CancelFunc
	// changed has something to read after anything has changed.
	changed chan struct{}
}

// follow sees a namespace, or with metav1.NamespaceAll the cluster, until it is
// closed. It returns when it has seen all that is there. The informers
// reconnect by themselves.
func (d *Driver) follow(ctx context.Context, namespace string) (*sight, error) {
	s := &sight{
		factory: informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithNamespace(namespace), informers.WithTransform(slim)),
		changed: make(chan struct{}, 1),
	}
	ring := func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { ring() }, UpdateFunc: func(any, any) { ring() }, DeleteFunc: func(any) { ring() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		s.factory.Apps().V1().Deployments().Informer(),
		s.factory.Apps().V1().ReplicaSets().Informer(),
		s.factory.Batch().V1().Jobs().Informer(),
		s.factory.Core().V1().Pods().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.factory.StartWithContext(ctx)
	for _, synced := range s.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			s.close()
			return nil, fmt.Errorf("watch the cluster: %w", ctx.Err())
		}
	}
	return s, nil
}

func (s *sight) close() {
	s.cancel()
	s.factory.Shutdown()
}

// slim leaves out what nobody here reads and what is much of an object.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}
