package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Watch calls changed after anything about pods may have changed, until ctx
// ends. While it runs List and Plan are answered from what it sees. The
// informers reconnect by themselves: it does not end when the API server is
// away.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	factory := informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithTransform(slim))
	tell := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Apps().V1().Deployments().Informer(),
		factory.Apps().V1().ReplicaSets().Informer(),
		factory.Batch().V1().Jobs().Informer(),
		factory.Core().V1().Pods().Informer(),
	} {
		if _, err := informer.AddEventHandler(tell); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer cancel()
	factory.StartWithContext(ctx)
	for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil // ctx has ended
		}
	}
	d.seen.informers.Store(&factory)
	defer d.seen.informers.Store(nil)
	changed()
	<-ctx.Done()
	return nil
}

// slim leaves out what nobody here reads and what is much of an object.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}
