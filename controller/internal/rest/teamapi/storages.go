package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/storage"
)

// StorageListItem is a storage as lists show it.
type StorageListItem struct {
	Description string    `json:"description"`
	Icon        string    `json:"icon"`
	URL         string    `json:"url"`
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
}

// storageOutput has a place for the keys, so that it can be changed and sent
// back, but never the keys.
type storageOutput struct {
	StorageListItem
	AccessKey *string `json:"accessKey" doc:"Always null: keys can be set, not read"`
	SecretKey *string `json:"secretKey" doc:"Always null: keys can be set, not read"`
	InUse     bool    `json:"inUse" doc:"A configuration of an image or an instance refers to it"`
}

type storageOption struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

// StorageBody is the body of both creation and change.
type StorageBody struct {
	Body struct {
		Name        string  `json:"name" doc:"1 to 70 characters"`
		Description string  `json:"description" required:"false"`
		Icon        string  `json:"icon" required:"false"`
		URL         string  `json:"url" doc:"Of an S3-compatible service" example:"https://s3.example.com"`
		AccessKey   *string `json:"accessKey,omitempty" nullable:"true" doc:"Goes with secretKey. When both are left out of a change or null, the stored ones stay; empty ones remove them"`
		SecretKey   *string `json:"secretKey,omitempty" nullable:"true" doc:"Never answered"`
	}
}

type createStorageInput struct {
	TeamPath
	StorageBody
}

// StoragePath names a storage of a team.
type StoragePath struct {
	TeamPath
	StorageID uuid.UUID `path:"storageId" format:"uuid"`
}

type updateStorageInput struct {
	StoragePath
	StorageBody
}

func (a *api) storageRoutes() {
	const (
		tag = "Storages"
		all = "/api/{teamSlug}/storages"
		one = all + "/{storageId}"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List storages", tag: tag,
		action: authz.StorageRead}, a.listStorages)
	add(a, route{method: http.MethodPost, path: all, summary: "Create a storage", tag: tag,
		action: authz.StorageCreate, status: http.StatusCreated, errors: []int{409}, repeats: once}, a.createStorage)
	addList(a, route{method: http.MethodGet, path: all + "/options", summary: "List storages to choose from", tag: tag,
		action: authz.StorageRead}, a.listStorageOptions)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a storage", tag: tag,
		action: authz.StorageRead}, a.getStorage)
	add(a, route{method: http.MethodPut, path: one, summary: "Change a storage", tag: tag,
		action: authz.StorageUpdate, revises: true, status: http.StatusNoContent, errors: []int{409}}, a.updateStorage)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a storage", tag: tag,
		action: authz.StorageDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteStorage)
}

func (a *api) listStorages(ctx context.Context, _ *TeamPath) (*ok[[]StorageListItem], error) {
	list, err := a.deps.Storages.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toStorageListItem)), nil
}

func (a *api) listStorageOptions(ctx context.Context, _ *TeamPath) (*ok[[]storageOption], error) {
	list, err := a.deps.Storages.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, func(s storage.Storage) storageOption { return storageOption{ID: s.ID, Name: s.Name} })), nil
}

func (a *api) createStorage(ctx context.Context, in *createStorageInput) (*created[storageOutput], error) {
	s, err := a.deps.Storages.Create(ctx, in.write())
	if err != nil {
		return nil, err
	}
	return &created[storageOutput]{
		Location: "/api/" + in.TeamSlug + "/storages/" + s.ID.String(),
		Body:     toStorageOutput(s),
	}, nil
}

func (a *api) getStorage(ctx context.Context, in *StoragePath) (*tagged[storageOutput], error) {
	s, err := a.deps.Storages.Get(ctx, in.StorageID)
	if err != nil {
		return nil, err
	}
	return respondTagged(toStorageOutput(s), s.UpdatedAt), nil
}

func (a *api) updateStorage(ctx context.Context, in *updateStorageInput) (*empty, error) {
	return nil, a.deps.Storages.Update(ctx, in.StorageID, in.write())
}

func (a *api) deleteStorage(ctx context.Context, in *StoragePath) (*empty, error) {
	return nil, a.deps.Storages.Delete(ctx, in.StorageID)
}

func (b StorageBody) write() storage.Write {
	in := b.Body
	w := storage.Write{Name: in.Name, Description: in.Description, Icon: in.Icon, URL: in.URL}
	if in.AccessKey != nil || in.SecretKey != nil {
		w.Keys = &storage.Keys{Access: orZero(in.AccessKey), Secret: orZero(in.SecretKey)}
	}
	return w
}

func toStorageListItem(s storage.Storage) StorageListItem {
	return StorageListItem{Description: s.Description, Icon: s.Icon, URL: s.URL, ID: s.ID, Name: s.Name}
}

func toStorageOutput(s storage.Storage) storageOutput {
	return storageOutput{StorageListItem: toStorageListItem(s), InUse: s.InUse}
}
