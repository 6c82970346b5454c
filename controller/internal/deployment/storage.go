package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// placeStorage returns a storage with its address; nil for one that names none.
func (s *Service) placeStorage(ctx context.Context, named *spec.Storage) (*spec.Storage, error) {
	if named == nil || named.StorageID == "" {
		return nil, nil
	}
	id, err := uuid.Parse(named.StorageID)
	if err != nil {
		return nil, apperr.InvalidField("storage.storageId", named.StorageID, "must be a UUID")
	}
	placed := *named
	placed.URL, err = s.StorageURL(ctx, id)
	return &placed, err
}

// addStorageKeys puts what opens each storage into the workloads that are filled
// from one, sealed to the node.
func (s *Service) addStorageKeys(ctx context.Context, nodeID uuid.UUID, workloads []spec.Workload) error {
	for i := range workloads {
		named := workloads[i].Container.Storage
		if named == nil || named.StorageID == "" {
			continue
		}
		opened := *named
		var err error
		if opened.Keys, err = s.storageKeys(ctx, nodeID, opened); err != nil {
			return err
		}
		workloads[i].Container.Storage = &opened
	}
	return nil
}

// storageKeys returns the keys of a storage, sealed to a node; nil when it takes
// none or they can't be had.
func (s *Service) storageKeys(ctx context.Context, nodeID uuid.UUID, at spec.Storage) (*spec.StorageKeys, error) {
	var keys *spec.StorageKeys
	id, err := uuid.Parse(at.StorageID)
	if err == nil {
		keys, err = s.StorageKeys(ctx, id, at.URL)
	}
	if err == nil && keys != nil {
		keys, err = s.sealKeys(ctx, nodeID, *keys)
	}
	switch {
	case err == nil:
		return keys, nil
	case apperr.Is(err, apperr.Unavailable), ctx.Err() != nil:
		return nil, err
	case !apperr.Is(err, apperr.NotFound): // a storage that is gone has none
		s.Logger.Error("the keys of a storage can't be read; it is asked without", "storage", at.StorageID, "error", err)
	}
	return nil, nil
}

func (s *Service) sealKeys(ctx context.Context, nodeID uuid.UUID, plain spec.StorageKeys) (*spec.StorageKeys, error) {
	public, err := s.Store.NodeSealingKey(ctx, nodeID)
	if err != nil {
		return nil, err
	}
	if public == "" {
		return nil, apperr.New(apperr.Precondition, "the node's agent has no key to seal to yet")
	}
	var sealed spec.StorageKeys
	if sealed.Access, err = s.Sealer.Seal(public, plain.Access); err != nil {
		return nil, err
	}
	sealed.Secret, err = s.Sealer.Seal(public, plain.Secret)
	return &sealed, err
}
