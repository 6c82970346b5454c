package storage

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Holder keeps a storage from being deleted.
type Holder interface {
	// HoldStorage keeps a team's storage until the transaction in ctx ends;
	// NotFound when the team has none with this id.
	HoldStorage(ctx context.Context, teamID, id uuid.UUID) error
}

// Hold makes sure that the storage a configuration names is one of the team in
// ctx, and keeps it until the transaction in ctx ends. A configuration that names
// none passes. Errors: NotFound.
func Hold(ctx context.Context, store Holder, config spec.Container) error {
	if config.Storage == nil || config.Storage.StorageID == "" {
		return nil
	}
	id, err := uuid.Parse(config.Storage.StorageID)
	// Any other spelling of an id would not be found when its use is looked for.
	if err != nil || id.String() != config.Storage.StorageID {
		return noSuchStorage(config.Storage.StorageID)
	}
	team, err := actor.TeamFrom(ctx)
	if err != nil {
		return err
	}
	err = store.HoldStorage(ctx, team.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return noSuchStorage(config.Storage.StorageID)
	}
	return err
}

func noSuchStorage(id string) error {
	return apperr.New(apperr.NotFound, "no such storage").WithField("config.storage.storageId", id)
}
