package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
// is used as it is, and stays when the deployment goes.
func (d *Driver) enter(ctx context.Context, prefix string) error {
	namespaces := d.client.CoreV1().Namespaces()
	there, err := namespaces.Get(ctx, prefix, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		_, err = namespaces.Create(ctx, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: prefix, Labels: map[string]string{labelManaged: managedBy}},
		}, metav1.CreateOptions{FieldManager: fieldManager})
		if kerrors.IsAlreadyExists(err) {
			return nil
		}
		return clusterError(err, "make namespace %s", prefix)
	}
	if err != nil {
		return clusterError(err, "look for namespace %s", prefix)
	}
	if there.Status.Phase == corev1.NamespaceTerminating {
		return apperr.New(apperr.Unavailable, "namespace %s is being deleted; the deployment is tried again when it is gone", prefix)
	}
	return nil
}

// leave deletes the namespace of a prefix when we made it and nothing is left
// in it that anybody may want: no pod and no volume.
func (d *Driver) leave(ctx context.Context, prefix string) (deleted bool, err error) {
	namespace, err := d.client.CoreV1().Namespaces().Get(ctx, prefix, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, clusterError(err, "look for namespace %s", prefix)
	}
	if !isOurs(namespace) {
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
	secrets, err := d.client.CoreV1().Secrets(prefix).List(ctx, foreign)
	if err != nil {
		return false, clusterError(err, "list the secrets of namespace %s", prefix)
	}
	// Every namespace has the config map with the cluster's root certificate.
	if len(claims.Items) > 0 || len(pods.Items) > 0 || len(maps.Items) > 1 || len(secrets.Items) > 0 {
		return false, nil
	}
	err = d.client.CoreV1().Namespaces().Delete(ctx, prefix, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &namespace.UID}})
	if err != nil && !kerrors.IsNotFound(err) {
		return false, clusterError(err, "delete namespace %s", prefix)
	}
	return true, nil
}
