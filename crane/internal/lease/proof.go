package lease

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// annotationProof has what a pod that waits for the lease shows to who has it.
const annotationProof = "fairlead.dev/proof"

// Proof is what the candidate of an update leaves once it has proven itself.
type Proof struct {
	UpdateID string `json:"update"`
	Version  string `json:"version"`
}

// Leave leaves a proof with the lease, for who has it.
func (l *Lease) Leave(ctx context.Context, proof Proof) error {
	text, err := json.Marshal(proof)
	if err != nil {
		return fmt.Errorf("leave a proof with lease %s: %w", l.config.Name, err)
	}
	leases := l.config.Client.CoordinationV1().Leases(l.config.Namespace)
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lease, err := leases.Get(ctx, l.config.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		metav1.SetMetaDataAnnotation(&lease.ObjectMeta, annotationProof, string(text))
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("leave a proof with lease %s: %w", l.config.Name, err)
	}
	return nil
}

// Left returns the proof that was left last; the zero value when none was.
func (l *Lease) Left(ctx context.Context) (p Proof, err error) {
	lease, err := l.config.Client.CoordinationV1().Leases(l.config.Namespace).Get(ctx, l.config.Name, metav1.GetOptions{})
	if err != nil {
		return p, fmt.Errorf("look for a proof with lease %s: %w", l.config.Name, err)
	}
	text, left := lease.Annotations[annotationProof]
	if !left {
		return p, nil
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Proof{}, fmt.Errorf("read the proof with lease %s: %w", l.config.Name, err)
	}
	return p, nil
}
