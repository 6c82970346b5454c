package storage

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// List returns the team's storages by name.
func (s *Service) List(ctx context.Context) ([]Storage, error) {
	scope, _, err := authz.Require(ctx, authz.StorageRead)
	if err != nil {
		return nil, err
	}
	return s.store.ListStorages(ctx, scope.ID)
}

// Get returns one of the team's storages. Errors: NotFound.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Storage, error) {
	scope, _, err := authz.Require(ctx, authz.StorageRead)
	if err != nil {
		return Storage{}, err
	}
	return s.store.FindStorage(ctx, scope.ID, id)
}

// Create adds a storage. It is not contacted. Errors: Invalid, Conflict on the
// name.
func (s *Service) Create(ctx context.Context, w Write) (Storage, error) {
	scope, who, err := authz.Require(ctx, authz.StorageCreate)
	if err != nil {
		return Storage{}, err
	}
	if w, err = w.normalize(); err != nil {
		return Storage{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Storage{}, err
	}
	at := s.now()
	made := Storage{
		ID: id, TeamID: scope.ID, Name: w.Name, Description: w.Description, Icon: w.Icon, URL: w.URL,
		CreatedAt: at, CreatedBy: who.Ref(), UpdatedAt: at, UpdatedBy: who.Ref(),
	}
	if w.Keys == nil {
		w.Keys = &Keys{}
	}
	s.seal(&made, *w.Keys)
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.InsertStorage(ctx, made); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.StorageCreate, auditData(made))
	})
	return made, err
}

// Update replaces what a storage says. Without keys it keeps those it has,
// except that they are not taken to another host: whoever may edit a storage
// could read them there. Errors: NotFound, Invalid, Conflict on the name.
func (s *Service) Update(ctx context.Context, id uuid.UUID, w Write) error {
	scope, who, err := authz.Require(ctx, authz.StorageUpdate)
	if err != nil {
		return err
	}
	if w, err = w.normalize(); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		found, err := s.store.LockStorage(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, found.UpdatedAt); err != nil {
			return err
		}
		if w.Keys == nil && len(found.SealedSecretKey) > 0 && moved(found.URL, w.URL) {
			return apperr.InvalidField("secretKey", nil,
				"is missing: give accessKey and secretKey again when the storage moves to another host, or empty ones for none")
		}
		found.Name, found.Description, found.Icon, found.URL = w.Name, w.Description, w.Icon, w.URL
		found.UpdatedAt, found.UpdatedBy = revision.Next(found.UpdatedAt, s.now()), who.Ref()
		if w.Keys != nil {
			s.seal(&found, *w.Keys)
		}
		if err := s.store.UpdateStorage(ctx, found); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.StorageUpdate, auditData(found))
	})
}

// Delete removes a storage that nothing refers to. Errors: NotFound;
// Precondition on the id when it is in use.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.StorageDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.store.LockStorage(ctx, scope.ID, id); err != nil {
			return err
		}
		// Read after the lock: who was about to use it has done so.
		found, err := s.store.FindStorage(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, found.UpdatedAt); err != nil {
			return err
		}
		if found.InUse {
			return apperr.New(apperr.Precondition, "the storage is in use: take it out of the configurations of images and instances first").
				WithField("id", id)
		}
		if err := s.store.DeleteStorage(ctx, scope.ID, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.StorageDelete, map[string]any{"id": id, "name": found.Name})
	})
}

// moved reports whether two URLs name different hosts.
func moved(from, to string) bool {
	a, errA := host(from)
	b, errB := host(to)
	return errA != nil || errB != nil || a != b
}

// seal puts keys into a storage, bound to it and to what they are.
func (s *Service) seal(t *Storage, k Keys) {
	t.SealedAccessKey = s.vault.Seal(accessPurpose(t.ID), k.Access)
	t.SealedSecretKey = s.vault.Seal(secretPurpose(t.ID), k.Secret)
}

func auditData(t Storage) map[string]any {
	return map[string]any{"id": t.ID, "name": t.Name, "url": t.URL}
}
