package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"fairlead.dev/shared/apperr"
)

// clusterID is the id of the namespace that every cluster has had from its
// first moment.
func (d *Driver) clusterID(ctx context.Context) (string, error) {
	system, err := d.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", clusterError(err, "ask the cluster who it is")
	}
	return string(system.UID), nil
}

// enter makes the namespace of a prefix where there is none. One that is there
// is used as it is, and stays when the deployment goes. It reports whether it made
// the namespace.
func (d *Driver) enter(ctx context.Context, prefix string) (made bool, err error) {
	namespaces := d.client.CoreV1().Namespaces()
	there, err := namespaces.Get(ctx, prefix, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		_, err = namespaces.Create(ctx, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: prefix, Labels: map[string]string{labelManaged: managedBy}},
		}, metav1.CreateOptions{FieldManager: fieldManager})
		if kerrors.IsAlreadyExists(err) {
			return false, nil
		}
		return err == nil, clusterError(err, "make namespace %s", prefix)
	}
	if err != nil {
		return false, clusterError(err, "look for namespace %s", prefix)
	}
	if there.Status.Phase == corev1.NamespaceTerminating {
		return false, apperr.New(apperr.Unavailable, "namespace %s is being deleted; the deployment is tried again when it is gone", prefix)
	}
	return false, nil
}

// noSecrets reports whether a namespace holds no secret. The agent may not list
// secrets: a quota that forbids nothing has the cluster count them.
func (d *Driver) noSecrets(ctx context.Context, namespace string) (bool, error) {
	quotas := d.client.CoreV1().ResourceQuotas(namespace)
	_, err := quotas.Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: countName, Labels: map[string]string{labelManaged: managedBy}},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("1G")}},
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !kerrors.IsAlreadyExists(err) {
		return false, clusterError(err, "have the secrets of namespace %s counted", namespace)
	}
	err = wait.PollUntilContextTimeout(ctx, pollPods, countTimeout, true, func(context.Context) (bool, error) {
		quota, err := quotas.Get(ctx, countName, metav1.GetOptions{})
		if err != nil {
			return false, clusterError(err, "have the secrets of namespace %s counted", namespace)
		}
		used, counted := quota.Status.Used[corev1.ResourceSecrets]
		return counted && used.IsZero(), nil
	})
	if gone := quotas.Delete(context.WithoutCancel(ctx), countName, metav1.DeleteOptions{}); gone != nil && !kerrors.IsNotFound(gone) {
		return false, clusterError(gone, "have the secrets of namespace %s counted", namespace)
	}
	if wait.Interrupted(err) && ctx.Err() == nil {
		return false, nil // there are some, or nobody counts: then the namespace stays
	}
	return err == nil, err //nolint:wrapcheck // of the condition, or the end of ctx
}

const (
	// countName is the quota by which secrets are counted.
	countName = "fairlead-count"
	// countTimeout is how long the cluster may take to count; those that were
	// just deleted are still counted for a moment.
	countTimeout = 10 * time.Second
)

// leave deletes the namespace of a prefix when we made it and nothing is left
// in it that anybody may want: no pod, volume, config map or secret.
func (d *Driver) leave(ctx context.Context, prefix string) (deleted bool, err error) {
	namespace, err := d.client.CoreV1().Namespaces().Get(ctx, prefix, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, clusterError(err, "look for namespace %s", prefix)
	}
	if namespace.Status.Phase == corev1.NamespaceTerminating {
		return true, nil
	}
	if !isOurs(namespace) || len(d.options.Namespaces) > 0 {
		return false, nil
	}
	claims, err := d.client.CoreV1().PersistentVolumeClaims(prefix).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return false, clusterError(err, "list the volumes of namespace %s", prefix)
	}
	foreign := metav1.ListOptions{LabelSelector: labelManaged + "!=" + managedBy, Limit: 2}
	pods, err := d.client.CoreV1().Pods(prefix).List(ctx, foreign)
	if err != nil {
		return false, clusterError(err, "list the pods of namespace %s", prefix)
	}
	maps, err := d.client.CoreV1().ConfigMaps(prefix).List(ctx, foreign)
	if err != nil {
		return false, clusterError(err, "list the config maps of namespace %s", prefix)
	}
	// Every namespace has the config map with the cluster's root certificate.
	if len(claims.Items) > 0 || len(pods.Items) > 0 || len(maps.Items) > 1 {
		return false, nil
	}
	if none, err := d.noSecrets(ctx, prefix); err != nil || !none {
		return false, err
	}
	err = d.client.CoreV1().Namespaces().Delete(ctx, prefix, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &namespace.UID}})
	if err != nil && !kerrors.IsNotFound(err) {
		return false, clusterError(err, "delete namespace %s", prefix)
	}
	return true, nil
}
