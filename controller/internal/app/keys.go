package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// Kinds of keys that a database belongs together with.
const (
	kindRoot  = "root"
	kindVault = "vault"
)

// claimKeys refuses to go on with other keys than the database was used with:
// most often a second controller, or a restored one, that made keys of its own.
func claimKeys(ctx context.Context, db *postgres.DB, k *keys.Keys, folder string) error {
	for _, one := range []struct {
		kind  string
		have  []string
		means string
	}{
		{kindRoot, rootPrints(k), "no agent would trust this controller"},
		{kindVault, []string{k.Vault.Fingerprint()}, "nothing that is sealed in the database could be read"},
	} {
		err := db.UseKeys(ctx, one.kind, one.have, now())
		if apperr.Is(err, apperr.Conflict) {
			return fmt.Errorf(
				"the %s key in %s (SHA-256 %s) is not the one that this database is used with (%s): %s. "+
					"Controllers on one database share their keys: give this one those of the others in FAIRLEAD_KEYS_DIR, "+
					"or restore the folder from the backup that belongs to the database",
				one.kind, folder, one.have[0], knownOf(err), one.means)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func rootPrints(k *keys.Keys) []string {
	var list []string
	for _, r := range k.Roots.List() {
		list = append(list, r.SHA256)
	}
	return list
}

func knownOf(err error) any {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.Value
	}
	return ""
}

// claimRoots keeps what the database knows of the private roots up to date
// while they are replaced.
func claimRoots(ctx context.Context, db *postgres.DB, k *keys.Keys, log *slog.Logger) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		changed := k.Roots.Changed()
		var retry <-chan time.Time // the database may have been away
		if err := db.UseKeys(ctx, kindRoot, rootPrints(k), now()); err != nil && ctx.Err() == nil {
			log.Warn("could not note the private roots", logging.KeyError, err)
			retry = ticker.C
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}
