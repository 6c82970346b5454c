package kube

import (
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Remove deletes what is ours under the prefix and waits until its pods have
// ended. Volumes stay; the namespace goes when we made it and it holds nothing
// else.
func (d *Driver) Remove(ctx context.Context, prefix string, report workload.Reporter) error {
	s := workload.NewStory(report, d.options.Now)
	defer s.End()
	end, err := d.turnOfRelease(ctx, prefix)
	if err != nil {
		return err
	}
	defer end()
	all, err := d.owned(ctx, prefix, ours)
	if err != nil {
		return err
	}
	for _, u := range all {
		if len(u.GetOwnerReferences()) > 0 {
			continue
		}
		if err := d.drop(ctx, u); err != nil {
			return err
		}
	}
	if err := d.awaitNoPods(ctx, prefix, ours); err != nil {
		return err
	}
	if err := d.removeSecrets(ctx, prefix); err != nil {
		return err
	}
	deleted, err := d.leave(ctx, prefix)
	if err != nil {
		return err
	}
	if !deleted {
		s.Info("", "namespace %s stays: it holds volumes or what others made, or was there before", prefix)
	}
	return nil
}

// removeSecrets deletes the secrets of a namespace, and last the record that
// names them.
func (d *Driver) removeSecrets(ctx context.Context, prefix string) error {
	_, secrets, err := d.lastGood(ctx, prefix)
	if err != nil {
		return err
	}
	for _, name := range append(slices.Sorted(maps.Keys(secrets)), recordName) {
		if err := d.drop(ctx, secretOf(prefix, name)); err != nil {
			return err
		}
	}
	return nil
}

// pollPods is how often pods are asked for while their end is waited for.
const pollPods = 250 * time.Millisecond

// awaitNoPods waits until the pods that a selector names have ended.
func (d *Driver) awaitNoPods(ctx context.Context, namespace, selector string) error {
	limit := d.options.StopGrace + 2*time.Minute
	err := wait.PollUntilContextTimeout(ctx, pollPods, limit, true, func(ctx context.Context) (bool, error) {
		pods, err := d.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: 1})
		if err != nil {
			return false, clusterError(err, "list the pods of namespace %s", namespace)
		}
		return len(pods.Items) == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return apperr.New(apperr.Unavailable, "pods of namespace %s have not ended within %s; is their node there?", namespace, limit)
	}
	return err //nolint:wrapcheck // of the condition, or the end of ctx
}
