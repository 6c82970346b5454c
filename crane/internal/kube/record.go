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
//
// It also names those secrets. The agent may neither list nor read secrets, so
// that who steals its token finds none by it: what it made it has to know.
const (
	recordName = "fairlead-release"
	recordKey  = "objects.json.gz"
	secretsKey = "secrets.json"
	// maxRecord bounds what is unpacked: the server takes no more than 1 MiB,
	// packed.
	maxRecord = 64 << 20
)

// record is what a good release applied, in order. Nil means there was none.
type record []*unstructured.Unstructured

// secretNames has, for each secret of ours that may be in a namespace, the hash
// of what it holds; "" while that is not sure.
type secretNames map[string]string

func (r record) names(u *unstructured.Unstructured) bool {
	for _, o := range r {
		if o.GetKind() == u.GetKind() && o.GetName() == u.GetName() {
			return true
		}
	}
	return false
}

// lastGood reads the record of a namespace.
func (d *Driver) lastGood(ctx context.Context, namespace string) (record, secretNames, error) {
	secret, err := d.client.CoreV1().Secrets(namespace).Get(ctx, recordName, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return nil, secretNames{}, nil
	}
	if err != nil {
		return nil, nil, clusterError(err, "read what the last good release applied in namespace %s", namespace)
	}
	secrets := secretNames{}
	if text := secret.Data[secretsKey]; len(text) > 0 {
		if err := json.Unmarshal(text, &secrets); err != nil {
			return nil, nil, fmt.Errorf("read which secrets are in namespace %s: %w", namespace, err)
		}
	}
	good, err := unpackRecord(namespace, secret.Data[recordKey])
	return good, secrets, err
}

func unpackRecord(namespace string, packed []byte) (record, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
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

// keep writes the record of a release that is good, and which secrets may be
// there.
func (d *Driver) keep(ctx context.Context, namespace string, applied record, secrets secretNames) error {
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
	return d.writeRecord(ctx, namespace, packed.Bytes(), secrets)
}

// writeRecord writes the record; a namespace that has had no good release has
// no objects in it.
func (d *Driver) writeRecord(ctx context.Context, namespace string, objects []byte, secrets secretNames) error {
	names, err := json.Marshal(secrets)
	if err != nil {
		return fmt.Errorf("encode which secrets there are: %w", err)
	}
	data := map[string][]byte{secretsKey: names}
	if len(objects) > 0 {
		data[recordKey] = objects
	}
	body, err := json.Marshal(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: recordName, Namespace: namespace, Labels: map[string]string{labelManaged: managedBy}},
		Data:       data,
	})
	if err != nil {
		return fmt.Errorf("encode what the release applied: %w", err)
	}
	_, err = d.client.CoreV1().Secrets(namespace).Patch(ctx, recordName, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)})
	return clusterError(err, "write down what the release applied in namespace %s", namespace)
}
