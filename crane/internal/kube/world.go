package kube

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
)

// world is what was seen of the cluster at one moment.
type world struct {
	deployments []*appsv1.Deployment
	replicaSets []*appsv1.ReplicaSet
	jobs        []*batchv1.Job
	pods        []*corev1.Pod
	// evicted are pods that are gone.
	evicted []*corev1.Pod
}

// look sees the whole cluster: as Watch sees it while that runs, at no cost to
// the API server, else by asking. It fails with Unavailable while the API server
// does not answer.
func (d *Driver) look(ctx context.Context) (world, error) {
	if s := d.seen.Load(); s != nil {
		if err := d.answers(ctx, s); err != nil {
			return world{}, err
		}
		return s.world()
	}
	var all world
	for _, namespace := range d.served() {
		w, err := d.lookAt(ctx, namespace)
		if err != nil {
			return all, err
		}
		all = all.and(w)
	}
	return all, nil
}

// answers fails with Unavailable when the API server does not answer. Informers
// do not tell of one that refuses connections: so it is asked now and then.
func (d *Driver) answers(ctx context.Context, s *sight) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	if !s.doubtful.Load() && d.options.Now().Sub(s.answered) < answerAge {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := d.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error(); err != nil {
		s.doubtful.Store(true)
		return clusterError(err, "ask the cluster's API server whether it is there")
	}
	s.doubtful.Store(false)
	s.answered = d.options.Now()
	return nil
}

// served are the namespaces that are looked at.
func (d *Driver) served() []string {
	if len(d.options.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return d.options.Namespaces
}

// and returns both worlds as one.
func (w world) and(other world) world {
	return world{
		deployments: append(w.deployments, other.deployments...),
		replicaSets: append(w.replicaSets, other.replicaSets...),
		jobs:        append(w.jobs, other.jobs...),
		pods:        append(w.pods, other.pods...),
	}
}

func (s *sight) world() (world, error) {
	var all world
	for _, factory := range s.factories {
		w, err := worldOf(factory)
		if err != nil {
			return all, clusterError(err, "read what was seen of the cluster")
		}
		all = all.and(w)
	}
	all.evicted = s.lately()
	return all, nil
}

func worldOf(factory informers.SharedInformerFactory) (w world, err error) {
	all := labels.Everything()
	if w.deployments, err = factory.Apps().V1().Deployments().Lister().List(all); err != nil {
		return w, err //nolint:wrapcheck // by the caller
	}
	if w.replicaSets, err = factory.Apps().V1().ReplicaSets().Lister().List(all); err != nil {
		return w, err //nolint:wrapcheck // by the caller
	}
	if w.jobs, err = factory.Batch().V1().Jobs().Lister().List(all); err != nil {
		return w, err //nolint:wrapcheck // by the caller
	}
	w.pods, err = factory.Core().V1().Pods().Lister().List(all)
	return w, err //nolint:wrapcheck // by the caller
}

// lookAt asks the API server for what is in a namespace.
func (d *Driver) lookAt(ctx context.Context, namespace string) (world, error) {
	var w world
	options := metav1.ListOptions{}
	deployments, err := d.client.AppsV1().Deployments(namespace).List(ctx, options)
	if err != nil {
		return w, clusterError(err, "list the deployments of the cluster")
	}
	replicaSets, err := d.client.AppsV1().ReplicaSets(namespace).List(ctx, options)
	if err != nil {
		return w, clusterError(err, "list the replica sets of the cluster")
	}
	jobs, err := d.client.BatchV1().Jobs(namespace).List(ctx, options)
	if err != nil {
		return w, clusterError(err, "list the jobs of the cluster")
	}
	pods, err := d.client.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return w, clusterError(err, "list the pods of the cluster")
	}
	w.deployments = pointers(deployments.Items)
	w.replicaSets = pointers(replicaSets.Items)
	w.jobs = pointers(jobs.Items)
	w.pods = pointers(pods.Items)
	return w, nil
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// podsOf returns the pods that an object controls, newest first.
func (w world) podsOf(owner metav1.Object) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range w.pods {
		if metav1.IsControlledBy(pod, owner) {
			found = append(found, pod)
		}
	}
	newestFirst(found)
	return found
}

// made returns the replica set that the cluster made of a deployment's present
// template; nil until it has, as while old pods must end first. current, in its
// place, then still returns the one before.
func (w world) made(d *appsv1.Deployment) *appsv1.ReplicaSet {
	for _, set := range w.replicaSets {
		template := set.Spec.Template.DeepCopy()
		delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		if metav1.IsControlledBy(set, d) && equality.Semantic.DeepEqual(template, &d.Spec.Template) {
			return set
		}
	}
	return nil
}

// current returns the replica set that a deployment was rolled out to last.
func (w world) current(d *appsv1.Deployment) *appsv1.ReplicaSet {
	const revision = "deployment.kubernetes.io/revision"
	var found *appsv1.ReplicaSet
	for _, set := range w.replicaSets {
		if metav1.IsControlledBy(set, d) && set.Annotations[revision] == d.Annotations[revision] {
			found = set
		}
	}
	return found
}
