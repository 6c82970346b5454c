//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/internal/lease"
	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/apperr"
)

// contender is a pod that wants the agent's lease, with the agent's rights.
type contender struct {
	began, ended chan struct{}
	stop         context.CancelFunc
	err          error
}

func contend(t *testing.T, name string) *contender {
	t.Helper()
	admin, err := kubetest.Running(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(asAgent(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	l := lease.New(lease.Config{Client: client, Namespace: agentNamespace, Name: "crane", Holder: name, Log: slog.New(slog.DiscardHandler)})
	c := &contender{began: make(chan struct{}), ended: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	go func() {
		defer close(c.ended)
		c.err = l.Hold(ctx, func(ctx context.Context) error {
			close(c.began)
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		<-c.ended
	})
	return c
}

func happened(what chan struct{}) error {
	select {
	case <-what:
		return nil
	default:
		return errors.New("not yet")
	}
}

func TestOnlyOneOfSeveralAgentsActs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := contend(t, "first")
	eventually(t, func() error { return happened(first.began) })
	leases := s.client.CoordinationV1().Leases(agentNamespace)
	second := contend(t, "second")
	// By the time the lease was renewed twice the second has wanted it.
	for range 2 {
		before, err := leases.Get(t.Context(), "crane", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			now, err := leases.Get(t.Context(), "crane", metav1.GetOptions{})
			if err != nil || now.Spec.RenewTime.Equal(before.Spec.RenewTime) {
				return fmt.Errorf("the lease is not renewed: %w", err)
			}
			return nil
		})
	}
	if happened(second.began) == nil {
		t.Fatal("two agents act at once")
	}
	first.stop()
	<-first.ended
	if first.err != nil {
		t.Errorf("an agent that is told to stop: %v", first.err)
	}
	eventually(t, func() error { return happened(second.began) })

	// Somebody else has the lease, as after a time without the API server.
	taken := []byte(`{"spec":{"holderIdentity":"third"}}`)
	if _, err := leases.Patch(t.Context(), "crane", types.MergePatchType, taken, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return happened(second.ended) })
	if !apperr.Is(second.err, apperr.Conflict) {
		t.Errorf("an agent that lost its lease ended with %v, want a conflict", second.err)
	}
}

func TestAStolenTokenTakesNoLeaseElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	leases := thief(t, s, "leaseholder").CoordinationV1().Leases
	change := []byte(`{"spec":{"holderIdentity":"thief"}}`)
	for what, try := range map[string]func() error{
		"take a lease of the cluster's": func() error {
			_, err := leases("kube-system").Patch(t.Context(), "kube-scheduler", types.MergePatchType, change, metav1.PatchOptions{})
			return err
		},
		"list leases":    func() error { _, err := leases(agentNamespace).List(t.Context(), metav1.ListOptions{}); return err },
		"delete its own": func() error { return leases(agentNamespace).Delete(t.Context(), "crane", metav1.DeleteOptions{}) },
		"read a node's": func() error {
			_, err := leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
			return err
		},
	} {
		if err := try(); !kerrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it forbidden", what, err)
		}
	}
}
