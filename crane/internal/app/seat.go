package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/internal/lease"
	"fairlead.dev/crane/internal/statecopy"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/release"
)

// fileReleaseKeys is where the agent's runtime keeps what builds are checked by.
const fileReleaseKeys = "release-keys"

// seat is what one of several pods acts from: the lease, and the state that they
// share by way of a secret. Without these there is one pod, and its folder is all.
type seat struct {
	config    Config
	enrolment enrolment
	// lease and copied may be nil.
	lease  *lease.Lease
	copied *statecopy.Copy
}

var _ agentrt.Shared = (*seat)(nil)

func newSeat(config Config, client kubernetes.Interface, pod string, log *slog.Logger) *seat {
	s := &seat{config: config, enrolment: enrolment{file: config.EnrolmentFile, folder: config.StateDir}}
	if config.StateSecret != "" {
		s.copied = statecopy.New(statecopy.Config{
			Client: client, Namespace: config.OwnNamespace, Name: config.StateSecret, Folder: config.StateDir, Log: log,
		})
	}
	if config.Lease != "" {
		s.lease = lease.New(lease.Config{
			Client: client, Namespace: config.OwnNamespace, Name: config.Lease, Holder: pod, Log: log,
		})
	}
	return s
}

// Refresh takes the state from its secret where that is newer.
func (s *seat) Refresh(ctx context.Context) error {
	if s.copied == nil {
		return nil
	}
	return s.copied.Restore(ctx)
}

// Hold works under the lease, and keeps the secret up to date meanwhile.
func (s *seat) Hold(ctx context.Context, work func(context.Context) error) error {
	if s.lease == nil {
		return s.take(ctx, work)
	}
	return s.lease.Hold(ctx, func(ctx context.Context) error { return s.take(ctx, work) })
}

func (s *seat) take(ctx context.Context, work func(context.Context) error) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.trust(), s.enrolment.offer()); err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	defer stop()
	var helping errgroup.Group
	helping.Go(func() error { return thrifty().Run(beside) })
	if s.copied != nil {
		helping.Go(func() error { return s.copied.Run(beside) })
	}
	err := errors.Join(work(ctx), s.enrolment.settle())
	stop()
	return errors.Join(err, helping.Wait())
}

func (s *seat) keep(identity bool) error {
	if s.copied == nil {
		return nil
	}
	return s.copied.Keep(identity)
}

// Prove shows to the pod that acts that this one has proven itself.
func (s *seat) Prove(ctx context.Context, updateID, version string) error {
	return s.lease.Leave(ctx, lease.Proof{UpdateID: updateID, Version: version})
}

func (s *seat) proof(ctx context.Context) (updateID, version string, err error) {
	p, err := s.lease.Left(ctx)
	return p.UpdateID, p.Version, err
}

// trust takes the release key over that the install script brought. One that is
// known stays with those that followed it.
func (s *seat) trust() error {
	brought, err := release.DecodeKeys([]byte(s.config.ReleaseKey))
	if err != nil || len(brought) == 0 {
		return err
	}
	path, text := filepath.Join(s.config.StateDir, fileReleaseKeys), bytes.TrimSpace(release.EncodeKeys(brought))
	present, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the release keys: %w", err)
	}
	if strings.Contains(string(present), string(text)) {
		return nil
	}
	if err := os.MkdirAll(s.config.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep the release key: %w", err)
	}
	return nil
}
