package kube

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// recordName is the secret in a namespace that holds what its last good release
// applied, so that it can be applied again, whoever crashed meanwhile. The
// values of secrets are not in it: theirs are objects of their own, which stay
// until the next release is good.
const (
	recordName = "fairlead-release"
	recordKey  = "objects.json.gz"
	// maxRecord bounds what is unpacked: the server takes no more than 1 MiB,
	// packed.
	maxRecord = 64 << 20
)

// record is what a good release applied, in order. Nil means there was none.
type record []*unstructured.Unstructured

func (r record) names(u *unstructured.Unstructured) bool {
	for _, o := range r {
		if o.GetKind() == u.GetKind() && o.GetName() == u.GetName() {
			return true
		}
	}
	return false
}

// lastGood reads the record of a namespace.
func (d *Driver) lastGood(ctx context.Context, namespace string) (record, error) {
	secret, err := d.client.CoreV1().Secrets(namespace).Get(ctx, recordName, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read what the last good release applied in namespace %s", namespace)
	}
	unpack, err := gzip.NewReader(bytes.NewReader(secret.Data[recordKey]))
	if err != nil {
		return nil, fmt.Errorf("read what the last good release applied in namespace %s: %w", namespace, err)
	}
	text, err := io.ReadAll(io.LimitReader(unpack, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("read what the last good release applied in namespace %s: %w", namespace, err)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		return nil, fmt.Errorf("read what the last good release applied in namespace %s: %w", namespace, err)
	}
	var good record
	for _, raw := range objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("read what the last good release applied in namespace %s: %w", namespace, err)
		}
		good = append(good, u)
	}
	return good, nil
}

// keep writes the record of a release that is good.
func (d *Driver) keep(ctx context.Context, namespace string, applied record) error {
	objects := []*unstructured.Unstructured{}
	for _, u := range applied {
		if u.GetKind() != "Secret" {
			objects = append(objects, u)
		}
	}
	text, err := json.Marshal(objects)
	if err != nil {
		return fmt.Errorf("encode what the release applied: %w", err)
	}
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, err = pack.Write(text)
	if err := errors.Join(err, pack.Close()); err != nil {
		return fmt.Errorf("pack what the release applied: %w", err)
	}
	body, err := json.Marshal(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: recordName, Namespace: namespace, Labels: map[string]string{labelManaged: managedBy}},
		Data:       map[string][]byte{recordKey: packed.Bytes()},
	})
	if err != nil {
		return fmt.Errorf("encode what the release applied: %w", err)
	}
	_, err = d.client.CoreV1().Secrets(namespace).Patch(ctx, recordName, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)})
	return clusterError(err, "write down what the release applied in namespace %s", namespace)
}
