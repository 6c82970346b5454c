package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// MaxImages bounds the images of a version; each becomes a workload.
const MaxImages = spec.MaxWorkloads

// List returns a version's images in the order of start. Errors: NotFound.
func (s *Service) List(ctx context.Context, projectID, versionID uuid.UUID) ([]Image, error) {
	scope, _, err := authz.Require(ctx, authz.ImageRead)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.FindVersion(ctx, scope.ID, projectID, versionID); err != nil {
		return nil, err
	}
	return s.store.ListImages(ctx, versionID)
}

// Get returns an image of a version. Errors: NotFound.
func (s *Service) Get(ctx context.Context, projectID, versionID, id uuid.UUID) (Image, error) {
	scope, _, err := authz.Require(ctx, authz.ImageRead)
	if err != nil {
		return Image{}, err
	}
	if _, err := s.store.FindVersion(ctx, scope.ID, projectID, versionID); err != nil {
		return Image{}, err
	}
	return s.store.FindImage(ctx, versionID, id)
}

// Add appends images to a version, and an instance of each to its deployments.
// They begin with nothing but a name in their configuration. Errors: Invalid,
// naming the entry; NotFound, for a registry too; Precondition for an immutable
// version.
func (s *Service) Add(ctx context.Context, projectID, versionID uuid.UUID, additions []Addition) ([]Image, error) {
	if len(additions) == 0 {
		return nil, apperr.New(apperr.Invalid, "name at least one image")
	}
	var added []Image
	err := s.mutate(ctx, authz.ImageCreate, projectID, versionID, func(ctx context.Context, list []Image) (map[string]any, error) {
		var err error
		if added, err = s.compose(ctx, versionID, list, additions); err != nil {
			return nil, err
		}
		if len(list)+len(added) > MaxImages {
			return nil, apperr.New(apperr.Invalid, "a version has at most %d images", MaxImages)
		}
		ids := make([]uuid.UUID, len(added))
		for i, a := range added {
			ids[i] = a.ID
		}
		return map[string]any{"ids": ids}, s.store.InsertImages(ctx, added)
	})
	return added, err
}

func (s *Service) compose(ctx context.Context, versionID uuid.UUID, list []Image, additions []Addition) ([]Image, error) {
	scope, _, err := authz.Require(ctx, authz.ImageCreate)
	if err != nil {
		return nil, err
	}
	taken, position := names(list, uuid.Nil), 0
	for _, i := range list {
		position = max(position, i.Position)
	}
	at := s.now()
	var added []Image
	for i, addition := range additions {
		from, err := s.store.FindRegistry(ctx, scope.ID, addition.RegistryID)
		if apperr.Is(err, apperr.NotFound) {
			return nil, apperr.New(apperr.NotFound, "no such registry").WithField(fmt.Sprintf("[%d].registryId", i), addition.RegistryID)
		}
		if err != nil {
			return nil, err
		}
		if len(addition.Images) == 0 {
			return nil, apperr.InvalidField(fmt.Sprintf("[%d].images", i), nil, "name at least one image")
		}
		for j, written := range addition.Images {
			name, tag, err := registry.ParseImage(written)
			if err != nil {
				return nil, atField(err, fmt.Sprintf("[%d].images[%d]", i, j), written)
			}
			id, err := uuid.NewV7()
			if err != nil {
				return nil, err
			}
			position++
			container := defaultName(name, taken)
			taken = append(taken, container)
			added = append(added, Image{
				ID: id, VersionID: versionID, Registry: from, Name: name, Tag: tag, Position: position,
				Config: spec.Container{Name: &container}, CreatedAt: at, UpdatedAt: at,
			})
		}
	}
	return added, nil
}

// Update changes an image's tag and configuration. A name that was cleared
// becomes the default one again. Errors: NotFound; Invalid, with paths such as
// "config.ports[0].internal"; Conflict on a name that another image of the
// version has; Precondition for an immutable version.
func (s *Service) Update(ctx context.Context, projectID, versionID, id uuid.UUID, c Change) error {
	return s.mutate(ctx, authz.ImageUpdate, projectID, versionID, func(ctx context.Context, list []Image) (map[string]any, error) {
		at := slices.IndexFunc(list, func(i Image) bool { return i.ID == id })
		if at < 0 {
			return nil, noSuchImage(id)
		}
		changed, others := list[at], names(list, id)
		if err := revision.Check(ctx, changed.UpdatedAt); err != nil {
			return nil, err
		}
		if c.Tag != nil {
			if err := registry.CheckTag(*c.Tag); err != nil {
				return nil, err
			}
			changed.Tag = *c.Tag
		}
		if c.Config != nil {
			c.Config(&changed.Config)
			if changed.Config.Name == nil {
				name := defaultName(changed.Name, others)
				changed.Config.Name = &name
			}
			if err := spec.ValidateContainer("config", changed.Config).Err(); err != nil {
				return nil, err
			}
			if err := storage.Hold(ctx, s.store, changed.Config); err != nil {
				return nil, err
			}
			if name := *changed.Config.Name; slices.Contains(others, name) {
				return nil, apperr.New(apperr.Conflict, "another image of the version has this name").WithField("config.name", name)
			}
		}
		changed.UpdatedAt = revision.Next(changed.UpdatedAt, s.now())
		return map[string]any{"id": id, "tag": changed.Tag}, s.store.UpdateImage(ctx, changed)
	})
}

// Delete removes an image and its instances. What runs keeps running: a release
// is complete in itself. Errors: NotFound; Precondition for an immutable
// version.
func (s *Service) Delete(ctx context.Context, projectID, versionID, id uuid.UUID) error {
	return s.mutate(ctx, authz.ImageDelete, projectID, versionID, func(ctx context.Context, list []Image) (map[string]any, error) {
		at := slices.IndexFunc(list, func(i Image) bool { return i.ID == id })
		if at < 0 {
			return nil, noSuchImage(id)
		}
		if err := revision.Check(ctx, list[at].UpdatedAt); err != nil {
			return nil, err
		}
		return map[string]any{"id": id}, s.store.DeleteImage(ctx, versionID, id)
	})
}

// Order sets the order in which a version's images are started. It takes every
// id once. Errors: NotFound; Invalid for an id that is missing or not the
// version's; Conflict for one that is there twice; Precondition for an immutable
// version.
func (s *Service) Order(ctx context.Context, projectID, versionID uuid.UUID, ids []uuid.UUID) error {
	return s.mutate(ctx, authz.ImageUpdate, projectID, versionID, func(ctx context.Context, list []Image) (map[string]any, error) {
		for i, id := range ids {
			field := fmt.Sprintf("[%d]", i)
			if slices.Contains(ids[:i], id) {
				return nil, apperr.New(apperr.Conflict, "the image is there twice").WithField(field, id)
			}
			if !slices.ContainsFunc(list, func(i Image) bool { return i.ID == id }) {
				return nil, apperr.InvalidField(field, id, "is not an image of this version")
			}
		}
		if len(ids) != len(list) {
			return nil, apperr.New(apperr.Invalid, "%d of the version's %d images are missing", len(list)-len(ids), len(list))
		}
		return map[string]any{"versionId": versionID, "order": ids}, s.store.OrderImages(ctx, versionID, ids, s.now())
	})
}

// mutate changes the images of a mutable version in one transaction, which has
// the version to itself, and audits what fn says it did.
func (s *Service) mutate(ctx context.Context, action authz.Action, projectID, versionID uuid.UUID,
	fn func(ctx context.Context, list []Image) (map[string]any, error),
) error {
	scope, _, err := authz.Require(ctx, action)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		v, err := s.store.LockVersion(ctx, scope.ID, projectID, versionID)
		if err != nil {
			return err
		}
		if err := v.CheckMutable(); err != nil {
			return err
		}
		list, err := s.store.ListImages(ctx, versionID)
		if err != nil {
			return err
		}
		did, err := fn(ctx, list)
		if err != nil {
			return err
		}
		return s.audit.Record(ctx, action, did)
	})
}

func noSuchImage(id uuid.UUID) error {
	return apperr.New(apperr.NotFound, "no such image").WithField("imageId", id)
}

// atField names the field that an error is about.
func atField(err error, field string, value any) error {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.WithField(field, value)
	}
	return err
}
