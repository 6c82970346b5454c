package storage

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/spec"
)

// URL returns the address of a storage as it goes into a release, with a scheme.
// Like Keys it serves a release and asks for no permission. Errors: NotFound.
func (s *Service) URL(ctx context.Context, id uuid.UUID) (string, error) {
	found, err := s.store.FindStorageOfAnyTeam(ctx, id)
	if err != nil {
		return "", err
	}
	return withScheme(found.URL), nil
}

// Keys returns what opens the storage at an address, in the clear; nil when it
// needs nothing, and when the storage has moved to another host since: keys
// go to no other host than they were entered for. Errors: NotFound.
func (s *Service) Keys(ctx context.Context, id uuid.UUID, address string) (*spec.StorageKeys, error) {
	found, err := s.store.FindStorageOfAnyTeam(ctx, id)
	if err != nil || len(found.SealedAccessKey) == 0 || moved(found.URL, address) {
		return nil, err
	}
	var keys spec.StorageKeys
	if keys.Access, err = s.vault.Open(accessPurpose(id), found.SealedAccessKey); err != nil {
		return nil, err
	}
	if keys.Secret, err = s.vault.Open(secretPurpose(id), found.SealedSecretKey); err != nil {
		return nil, err
	}
	if keys == (spec.StorageKeys{}) {
		return nil, nil
	}
	return &keys, nil
}

func accessPurpose(id uuid.UUID) string { return "storage-access:" + id.String() }

func secretPurpose(id uuid.UUID) string { return "storage-secret:" + id.String() }
