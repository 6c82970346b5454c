package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"fairlead.dev/shared/workload"
)

const (
	// lookTimeout bounds the look at one suspect, and what is done about it.
	lookTimeout = 30 * time.Second
	// busyPause is how long a suspect waits while its namespace is being changed.
	busyPause = 2 * time.Second
	// noteMark is on what is remembered of an object, never on the object: it
	// tells which fields others have, and since when.
	noteMark = keyPrefix + "mark"
	// markGone is the mark of an object that was deleted.
	markGone = "gone"
)

// guardedKinds are the kinds whose objects are watched for changes by others.
// Jobs are not among them: they cannot change, and are deleted when they have
// run. Secrets are not: the agent may not see them.
func guardedKinds() []string { return []string{"Deployment", "Service", "Ingress", "ConfigMap"} }

// suspect is an object that may differ from what the release says.
type suspect struct{ namespace, kind, name string }

// guard looks at suspects.
type guard struct {
	*Driver
	tell     func(prefix string, e workload.Event)
	suspects workqueue.TypedRateLimitingInterface[suspect]

	mu sync.Mutex
	// marks are of suspects as they were seen last, looked of those that were
	// looked at; told is what was told of them.
	marks, looked, told map[suspect]string
}

var _ workload.Warden = (*Driver)(nil)

// Guard tells of what somebody else changed or deleted of what the last good
// release of a prefix made, and puts it back where the deployment's policy says
// so. It asks the API server nothing while nobody changes anything: it follows
// who has which fields of an object, and looks closer when that is not the agent
// alone. It blocks until ctx ends.
func (d *Driver) Guard(ctx context.Context, tell func(prefix string, e workload.Event)) error {
	client, err := metadata.NewForConfig(d.config)
	if err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	g := &guard{
		Driver: d, tell: tell,
		suspects: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[suspect](time.Second, time.Minute)),
		marks:    map[suspect]string{}, looked: map[suspect]string{}, told: map[suspect]string{},
	}
	onlyOurs := func(o *metav1.ListOptions) { o.LabelSelector = ours }
	var factories []metadatainformer.SharedInformerFactory
	for _, namespace := range d.served() {
		factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, namespace, onlyOurs)
		for _, kind := range guardedKinds() {
			if err := g.follow(kind, factory.ForResource(resourceOf(kind)).Informer()); err != nil {
				return err
			}
		}
		factories = append(factories, factory)
	}
	for _, factory := range factories {
		factory.Start(ctx.Done())
	}
	var work sync.WaitGroup
	work.Go(func() { g.work(ctx) })
	<-ctx.Done()
	g.suspects.ShutDown()
	work.Wait()
	for _, factory := range factories {
		factory.Shutdown()
	}
	return nil
}

// follow has suspects of a kind noted.
func (g *guard) follow(kind string, informer cache.SharedIndexInformer) error {
	seen := func(object any) {
		if o, ok := object.(*metav1.PartialObjectMetadata); ok {
			g.suspect(suspect{o.Namespace, kind, o.Name}, o.Annotations[noteMark])
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, now any) { seen(now) },
		DeleteFunc: func(object any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				namespace, name, _ := strings.Cut(key, "/")
				g.suspect(suspect{namespace, kind, name}, markGone)
			}
		},
	})
	fails := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		g.options.Logger.Debug("changes by others cannot be followed", "kind", kind, "error", err)
	})
	if err := errors.Join(err, fails, informer.SetTransform(markOthers)); err != nil {
		return fmt.Errorf("watch the cluster: %w", err)
	}
	return nil
}

// markOthers keeps of an object what its mark is, and nothing else.
func markOthers(object any) (any, error) {
	o, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	_, mark := othersOf(o)
	return &metav1.PartialObjectMetadata{TypeMeta: o.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
		Annotations: map[string]string{noteMark: mark},
	}}, nil
}

// suspect notes an object that somebody else has a hand in, unless it was looked
// at as it is.
func (g *guard) suspect(s suspect, mark string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if mark == "" {
		delete(g.marks, s)
		delete(g.looked, s)
		delete(g.told, s)
		return
	}
	g.marks[s] = mark
	if g.looked[s] != mark {
		g.suspects.Add(s)
	}
}

// work looks at one suspect after the other.
func (g *guard) work(ctx context.Context) {
	for {
		s, over := g.suspects.Get()
		if over {
			return
		}
		g.workOn(ctx, s)
		g.suspects.Done(s)
	}
}

func (g *guard) workOn(ctx context.Context, s suspect) {
	end, ok := g.tryTurn(s.namespace)
	if !ok {
		g.suspects.AddAfter(s, busyPause)
		return
	}
	defer end()
	g.mu.Lock()
	mark := g.marks[s]
	g.mu.Unlock()
	if mark == "" {
		return // it is as it should be by now
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := g.look(ctx, s)
	if err != nil {
		g.options.Logger.Warn("a change by others cannot be looked at yet", "kind", s.kind, "name", s.name, "namespace", s.namespace, "error", err)
		g.suspects.AddRateLimited(s)
		return
	}
	g.suspects.Forget(s)
	g.mu.Lock()
	g.looked[s] = mark
	if mark == markGone {
		delete(g.looked, s) // one that is made again and deleted again is told of again
		delete(g.marks, s)
	}
	known := g.told[s]
	g.told[s] = found.words
	g.mu.Unlock()
	if found.words != "" && (found.words != known || found.corrected || mark == markGone) {
		g.tell(s.namespace, workload.Event{Level: workload.LevelWarn, InstanceID: found.instance, Lines: []string{found.words}})
	}
}
