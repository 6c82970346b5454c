package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/spec"
)

type imageOutput struct {
	ID        uuid.UUID     `json:"id"`
	Name      string        `json:"name" example:"group/app"`
	Tag       string        `json:"tag" doc:"A tag, a digest such as sha256:…, or both with '@' between them"`
	Order     int           `json:"order" doc:"Place in the order of start; the first has 1"`
	Config    imageConfig   `json:"config"`
	CreatedAt time.Time     `json:"createdAt"`
	Registry  imageRegistry `json:"registry"`
}

type imageRegistry struct {
	Type registry.Type `json:"type" enum:"v2,hub,gitlab,github,google,unchecked"`
	ID   uuid.UUID     `json:"id"`
	Name string        `json:"name"`
}

type imageAddition struct {
	RegistryID uuid.UUID `json:"registryId" format:"uuid"`
	Images     []string  `json:"images" minItems:"1" maxItems:"100" nullable:"false" doc:"name, name:tag or name@digest, without the registry's host" example:"[\"nginx:1.27\"]"`
}

type addImagesInput struct {
	VersionPath
	Body []imageAddition `minItems:"1" maxItems:"100" nullable:"false"`
}

// ImagePath names an image of a version.
type ImagePath struct {
	VersionPath
	ImageID uuid.UUID `path:"imageId" format:"uuid"`
}

type patchImageInput struct {
	ImagePath
	Body struct {
		Tag    optional[string] `json:"tag" required:"false" doc:"Null leaves it"`
		Config *imageConfig     `json:"config" required:"false" doc:"Keys that are left out stay, null clears, a value replaces; labels and annotations are merged list by list"`
	}
}

type orderImagesInput struct {
	VersionPath
	Body []uuid.UUID `format:"uuid" maxItems:"100" nullable:"false" doc:"Every image of the version, once"`
}

func (a *api) imageRoutes() {
	const (
		tag = "Images"
		all = "/api/{teamSlug}/projects/{projectId}/versions/{versionId}/images"
		one = all + "/{imageId}"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List images", tag: tag,
		action: authz.ImageRead}, a.listImages)
	add(a, route{method: http.MethodPost, path: all, summary: "Add images", tag: tag,
		action: authz.ImageCreate, status: http.StatusCreated, errors: []int{412}, repeats: once}, a.addImages)
	add(a, route{method: http.MethodPut, path: all + "/order", summary: "Order images", tag: tag,
		action: authz.ImageUpdate, status: http.StatusNoContent, errors: []int{409, 412}}, a.orderImages)
	add(a, route{method: http.MethodGet, path: one, summary: "Get an image", tag: tag,
		action: authz.ImageRead}, a.getImage)
	add(a, route{method: http.MethodPatch, path: one, summary: "Change an image", tag: tag,
		action: authz.ImageUpdate, revises: true, status: http.StatusNoContent, errors: []int{409, 412}}, a.patchImage)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete an image", tag: tag,
		action: authz.ImageDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteImage)
}

func (a *api) listImages(ctx context.Context, in *VersionPath) (*ok[[]imageOutput], error) {
	list, err := a.deps.Images.List(ctx, in.ProjectID, in.VersionID)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toImageOutput)), nil
}

func (a *api) addImages(ctx context.Context, in *addImagesInput) (*created[[]imageOutput], error) {
	added, err := a.deps.Images.Add(ctx, in.ProjectID, in.VersionID, each(in.Body, func(i imageAddition) image.Addition {
		return image.Addition(i)
	}))
	if err != nil {
		return nil, err
	}
	return &created[[]imageOutput]{
		Location: "/api/" + in.TeamSlug + "/projects/" + in.ProjectID.String() + "/versions/" + in.VersionID.String() + "/images",
		Body:     each(added, toImageOutput),
	}, nil
}

func (a *api) getImage(ctx context.Context, in *ImagePath) (*tagged[imageOutput], error) {
	i, err := a.deps.Images.Get(ctx, in.ProjectID, in.VersionID, in.ImageID)
	if err != nil {
		return nil, err
	}
	return respondTagged(toImageOutput(i), i.UpdatedAt), nil
}

func (a *api) patchImage(ctx context.Context, in *patchImageInput) (*empty, error) {
	change := image.Change{Tag: in.Body.Tag.value}
	if in.Body.Config != nil {
		change.Config = func(c *spec.Container) { in.Body.Config.apply(c) }
	}
	return nil, a.deps.Images.Update(ctx, in.ProjectID, in.VersionID, in.ImageID, change)
}

func (a *api) deleteImage(ctx context.Context, in *ImagePath) (*empty, error) {
	return nil, a.deps.Images.Delete(ctx, in.ProjectID, in.VersionID, in.ImageID)
}

func (a *api) orderImages(ctx context.Context, in *orderImagesInput) (*empty, error) {
	return nil, a.deps.Images.Order(ctx, in.ProjectID, in.VersionID, in.Body)
}

func toImageOutput(i image.Image) imageOutput {
	return imageOutput{
		ID: i.ID, Name: i.Name, Tag: i.Tag, Order: i.Position, Config: toImageConfig(i.Config), CreatedAt: i.CreatedAt,
		Registry: imageRegistry{Type: i.Registry.Details.Type, ID: i.Registry.ID, Name: i.Registry.Name},
	}
}
