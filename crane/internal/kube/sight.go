package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// sight follows what happens in some namespaces, or in all.
type sight struct {
	factories []informers.SharedInformerFactory
	cancel    context.CancelFunc
	// changed has something to read after anything has changed.
	changed chan struct{}
	// doubtful is true after the API server was not heard of as it should be:
	// what was seen may be old.
	doubtful atomic.Bool
	// asking guards answered, which is when the API server answered last.
	asking   sync.Mutex
	answered time.Time
	// gone guards evicted, the pods that were evicted of late and are no more.
	gone    sync.Mutex
	evicted []evictedPod
}

// evictedPod is the last that was seen of a pod that was evicted.
type evictedPod struct {
	*corev1.Pod
	at time.Time
}

const (
	// answerAge is how long an answer of the API server counts.
	answerAge     = 20 * time.Second
	answerTimeout = 10 * time.Second
	// evictedAge is for how long an evicted pod counts after it is gone: it may
	// go sooner than anybody looks, and for long nobody looks.
	evictedAge = time.Minute
)

// follow sees namespaces, or with metav1.NamespaceAll the cluster, until it is
// closed. It returns when it has seen all that is there. The informers
// reconnect by themselves.
func (d *Driver) follow(ctx context.Context, namespaces ...string) (*sight, error) {
	s := &sight{changed: make(chan struct{}, 1)}
	for _, namespace := range namespaces {
		factory := informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithNamespace(namespace), informers.WithTransform(slim))
		if err := s.listen(factory); err != nil {
			return nil, err
		}
		s.factories = append(s.factories, factory)
	}
	ctx, s.cancel = context.WithCancel(ctx)
	for _, factory := range s.factories {
		factory.StartWithContext(ctx)
	}
	for _, factory := range s.factories {
		for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
			if !synced {
				s.close()
				return nil, fmt.Errorf("watch the cluster: %w", ctx.Err())
			}
		}
	}
	return s, nil
}

// listen makes the informers of a factory, and has them tell of changes.
func (s *sight) listen(factory informers.SharedInformerFactory) error {
	ring := func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { ring() }, UpdateFunc: func(any, any) { ring() }, DeleteFunc: func(o any) {
			s.remember(o)
			ring()
		},
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Apps().V1().Deployments().Informer(),
		factory.Apps().V1().ReplicaSets().Informer(),
		factory.Batch().V1().Jobs().Informer(),
		factory.Core().V1().Pods().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
		if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {
			s.doubtful.Store(true)
			ring()
		}); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
	}
	return nil
}

// remember keeps what is deleted for a while if it is a pod that was evicted.
func (s *sight) remember(deleted any) {
	pod, ok := deleted.(*corev1.Pod)
	if !ok || disruption(pod) == nil {
		return
	}
	s.gone.Lock()
	defer s.gone.Unlock()
	s.evicted = append(s.evicted, evictedPod{pod, time.Now()})
}

// lately returns the pods that were evicted a short while ago and are gone.
func (s *sight) lately() (pods []*corev1.Pod) {
	s.gone.Lock()
	defer s.gone.Unlock()
	s.evicted = slices.DeleteFunc(s.evicted, func(p evictedPod) bool { return time.Since(p.at) > evictedAge })
	for _, p := range s.evicted {
		pods = append(pods, p.Pod)
	}
	return pods
}

func (s *sight) close() {
	s.cancel()
	for _, factory := range s.factories {
		factory.Shutdown()
	}
}

// slim leaves out what nobody here reads and what is much of an object.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}
