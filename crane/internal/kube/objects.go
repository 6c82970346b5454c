package kube

import (
	"context"
	"encoding/json"
	"fmt"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/apperr"
)

// resourceOf is the API resource of each kind the agent makes.
func resourceOf(kind string) schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"Deployment":            {Group: "apps", Version: "v1", Resource: "deployments"},
		"Job":                   {Group: "batch", Version: "v1", Resource: "jobs"},
		"Ingress":               {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
		"Service":               {Version: "v1", Resource: "services"},
		"ConfigMap":             {Version: "v1", Resource: "configmaps"},
		"Secret":                {Version: "v1", Resource: "secrets"},
		"PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
	}[kind]
}

// kindsInOrder are the kinds that are listed, in the order they are removed: what
// runs first, then what it needs.
func kindsInOrder() []string {
	return []string{"Ingress", "Deployment", "Job", "Service", "ConfigMap"}
}

// manifest is what the server is sent: the object without what only the server
// says.
func manifest(object runtime.Object) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode an object: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("encode an object: %w", err)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "creationTimestamp")
	return u, nil
}

// put applies one object. One of that name that is not of our making is left
// alone and a conflict.
func (d *Driver) put(ctx context.Context, u *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	resource := d.objects.Resource(resourceOf(u.GetKind())).Namespace(u.GetNamespace())
	there, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
	if err != nil && !kerrors.IsNotFound(err) {
		return nil, clusterError(err, "look for %s", describe(u))
	}
	if err == nil && !isOurs(there) {
		return nil, apperr.New(apperr.Conflict,
			"%s is already there and was not made by this agent; remove or rename it, or choose another prefix or name", describe(u))
	}
	if err == nil && u.GetKind() == "PersistentVolumeClaim" {
		return there, nil // little of a claim can change, and what it holds must not be lost
	}
	return d.send(ctx, u, dryRun)
}

// send applies an object, whatever is there.
func (d *Driver) send(ctx context.Context, u *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	text, err := u.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", describe(u), err)
	}
	// Forced: what is of our making is as the deployment says, also where
	// somebody has changed it by hand.
	options := metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	put, err := d.objects.Resource(resourceOf(u.GetKind())).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.ApplyPatchType, text, options)
	if err != nil {
		return nil, clusterError(err, "apply %s", describe(u))
	}
	return put, nil
}

// drop deletes one object, in the background; what is gone is no error.
func (d *Driver) drop(ctx context.Context, u *unstructured.Unstructured) error {
	policy := metav1.DeletePropagationBackground
	err := d.objects.Resource(resourceOf(u.GetKind())).Namespace(u.GetNamespace()).
		Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !kerrors.IsNotFound(err) {
		return clusterError(err, "delete %s", describe(u))
	}
	return nil
}

// owned lists every object of our making in a namespace but volumes, which stay,
// and secrets, which the record names.
func (d *Driver) owned(ctx context.Context, namespace, selector string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, kind := range kindsInOrder() {
		list, err := d.objects.Resource(resourceOf(kind)).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, clusterError(err, "list what is in namespace %s", namespace)
		}
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	return all, nil
}

func describe(u *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s in namespace %s", u.GetKind(), u.GetName(), u.GetNamespace())
}
