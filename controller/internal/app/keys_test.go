package app_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres/pgtest"
)

// startOn starts a controller on a database and stops it again; it returns why
// it did not start.
func startOn(t *testing.T, dsn, stateDir string, settings ...string) error {
	t.Helper()
	c, err := config.Load(nil, append(settings, "DATABASE_URL="+dsn, "FAIRLEAD_STATE_DIR="+stateDir,
		"FAIRLEAD_HTTP_ADDR=127.0.0.1:0", "FAIRLEAD_AGENT_ADDR=127.0.0.1:0", "FAIRLEAD_DRAIN=0", "FAIRLEAD_REPLICA_NAME="+t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the controller ended with %v", err)
	}
	return nil
}

func TestAControllerWithOtherKeysThanTheDatabaseKnowsDoesNotStart(t *testing.T) {
	dsn, first, second := pgtest.NewDSN(t), t.TempDir(), t.TempDir()
	if err := startOn(t, dsn, first); err != nil {
		t.Fatal(err)
	}
	err := startOn(t, dsn, second)
	for _, want := range []string{"root key", filepath.Join(second, "keys"), "FAIRLEAD_KEYS_DIR", "no agent would trust"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if err := startOn(t, dsn, second, "FAIRLEAD_KEYS_DIR="+filepath.Join(first, "keys")); err != nil {
		t.Errorf("with the keys of the first: %v", err)
	}
	// Another vault key alone is found out too.
	if err := os.Remove(filepath.Join(first, "keys", "vault.key")); err != nil {
		t.Fatal(err)
	}
	if err := startOn(t, dsn, first); err == nil || !strings.Contains(err.Error(), "vault key") || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("with another vault key: %v", err)
	}
	// And the refused did not become the known.
	if err := startOn(t, dsn, first); err == nil {
		t.Error("the second try went through")
	}
}

func TestARootMayBeReplacedStepByStep(t *testing.T) {
	dsn, dir := pgtest.NewDSN(t), t.TempDir()
	if err := startOn(t, dsn, dir); err != nil {
		t.Fatal(err)
	}
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(dir, "keys"))); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Open(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	old := k.Roots.Pin()
	for _, step := range []func() error{
		func() error { _, err := k.Roots.Prepare(); return err },
		func() error { _, err := k.Roots.Promote(); return err },
		func() error { return k.Roots.Retire(old) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if err := startOn(t, dsn, dir); err != nil {
			t.Fatal(err)
		}
	}
	if k.Roots.Pin() == old || len(k.Roots.List()) != 1 {
		t.Fatal("the root was not replaced")
	}
	if err := startOn(t, dsn, t.TempDir(), "FAIRLEAD_KEYS_DIR="+backup); err == nil {
		t.Error("the keys of before the replacement are taken")
	}
}
