package kube

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// world is what was seen of the cluster at one moment.
type world struct {
	deployments []*appsv1.Deployment
	replicaSets []*appsv1.ReplicaSet
	jobs        []*batchv1.Job
	pods        []*corev1.Pod
}

// look sees the whole cluster: as Watch sees it while that runs, at no cost to
// the API server, else by asking.
func (d *Driver) look(ctx context.Context) (world, error) {
	if s := d.seen.Load(); s != nil {
		return s.world()
	}
	return d.lookAt(ctx, metav1.NamespaceAll)
}

func (s *sight) world() (world, error) {
	var w world
	var err error
	if w.deployments, err = s.factory.Apps().V1().Deployments().Lister().List(labels.Everything()); err != nil {
		return w, clusterError(err, "read what was seen of the cluster")
	}
	if w.replicaSets, err = s.factory.Apps().V1().ReplicaSets().Lister().List(labels.Everything()); err != nil {
		return w, clusterError(err, "read what was seen of the cluster")
	}
	if w.jobs, err = s.factory.Batch().V1().Jobs().Lister().List(labels.Everything()); err != nil {
		return w, clusterError(err, "read what was seen of the cluster")
	}
	w.pods, err = s.factory.Core().V1().Pods().Lister().List(labels.Everything())
	return w, clusterError(err, "read what was seen of the cluster")
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

// current returns the replica set of a deployment's present template.
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
