// Package lease lets one of several pods of the agent act, and the others wait.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"fairlead.dev/shared/apperr"
)

const (
	// duration is for how long a pod that is not heard of keeps the lease, and
	// period how often it is renewed: seldom enough to be no load. Who waits for
	// it looks more often.
	duration = 30 * time.Second
	renewal  = 20 * time.Second
	period   = 8 * time.Second
	look     = time.Second
)

// Config says which lease it is and who wants it.
type Config struct {
	Client kubernetes.Interface
	// Namespace and Name are of the lease.
	Namespace, Name string
	// Holder is this pod's name: a container that is started again in it goes
	// on with the lease.
	Holder string
	Log    *slog.Logger
}

// Lease is what at most one holder acts under.
type Lease struct{ config Config }

// New returns a lease. Hold takes it.
func New(config Config) *Lease { return &Lease{config: config} }

// Hold waits until the lease is this holder's, works, and gives it up when the
// work has ended, whose error it returns. Losing sight of the API server costs
// nobody the lease by itself: the work goes on until somebody else is seen to
// have it. Then the context of the work ends and Hold fails with Conflict.
func (l *Lease) Hold(ctx context.Context, work func(context.Context) error) error {
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	// It is kept until the work has ended.
	keeping, release := context.WithCancel(context.WithoutCancel(ctx))
	held := make(chan struct{})
	failed := make(chan error, 1)
	var contest sync.WaitGroup
	contest.Go(func() { failed <- l.contest(keeping, held, end) })
	defer contest.Wait()
	defer release()

	select {
	case <-held:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
	err := work(working)
	if taken := context.Cause(working); apperr.Is(taken, apperr.Conflict) {
		return errors.Join(taken, err)
	}
	return err
}

// contest takes part in elections until ctx ends. held is closed when the first
// is won; taken is told when another one wins after that.
func (l *Lease) contest(ctx context.Context, held chan struct{}, taken context.CancelCauseFunc) error {
	won := sync.OnceFunc(func() { close(held) })
	had := func() bool {
		select {
		case <-held:
			return true
		default:
			return false
		}
	}
	lock := &seldom{LeaseLock: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: l.config.Namespace, Name: l.config.Name},
		Client:     l.config.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: l.config.Holder},
	}}
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: duration, RenewDeadline: renewal, RetryPeriod: look, ReleaseOnCancel: true, Name: l.config.Name,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { won() },
				OnStoppedLeading: func() {
					if ctx.Err() == nil {
						l.config.Log.Warn("the lease could not be renewed; work goes on until another pod has it", "lease", l.config.Name)
					}
				},
				OnNewLeader: func(holder string) {
					switch {
					case holder == l.config.Holder || holder == "":
					case had():
						taken(apperr.New(apperr.Conflict, "pod %s has the lease %s now: this one ends its work", holder, l.config.Name))
					default:
						l.config.Log.Info("another pod acts; waiting for the lease", "lease", l.config.Name, "holder", holder)
					}
				},
			},
		})
		if err != nil {
			return fmt.Errorf("take part in the election of lease %s: %w", l.config.Name, err)
		}
		elector.Run(ctx)
	}
	return nil
}
