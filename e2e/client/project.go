package client

import (
	"context"
	"errors"
	"net/http"
)

// CreateRegistry names a registry at host:port; user and password are empty
// for an anonymous one.
func (t *Team) CreateRegistry(ctx context.Context, name, address, user, password string) (id string, err error) {
	details := Object{"url": address}
	if user != "" {
		details["user"], details["token"] = user, password
	}
	return t.create(ctx, t.path("/registries"), Object{"type": "v2", "name": name, "details": details})
}

// Project is a versionless project with its one, hidden version.
type Project struct {
	team      *Team
	ID        string
	VersionID string
}

// CreateProject makes a versionless project.
func (t *Team) CreateProject(ctx context.Context, name string) (*Project, error) {
	id, err := t.create(ctx, t.path("/projects"), Object{"type": "versionless", "name": name})
	if err != nil {
		return nil, err
	}
	var versions []made
	if err := t.Call(ctx, http.MethodGet, t.path("/projects/%s/versions", id), nil, &versions); err != nil {
		return nil, err
	}
	if len(versions) != 1 {
		return nil, errors.New("a versionless project must have one version")
	}
	return &Project{t, id, versions[0].ID}, nil
}

func (p *Project) images() string {
	return p.team.path("/projects/%s/versions/%s/images", p.ID, p.VersionID)
}

// AddImage adds an image such as "app:1.0" of a registry and merges config into
// its configuration, unless that is nil.
func (p *Project) AddImage(ctx context.Context, registryID, image string, config Object) (id string, err error) {
	var added []made
	err = p.team.Call(ctx, http.MethodPost, p.images(), []Object{{"registryId": registryID, "images": []string{image}}}, &added)
	if err != nil {
		return "", err
	}
	if len(added) != 1 {
		return "", errors.New("one image was to be added")
	}
	id = added[0].ID
	if config == nil {
		return id, nil
	}
	return id, p.ConfigureImage(ctx, id, config)
}

// ConfigureImage merges config into an image's configuration.
func (p *Project) ConfigureImage(ctx context.Context, imageID string, config Object) error {
	return p.team.Call(ctx, http.MethodPatch, p.images()+"/"+imageID, Object{"config": config}, nil)
}

// Delete takes an image out of the version.
func (p *Project) Delete(ctx context.Context, imageID string) error {
	return p.team.Call(ctx, http.MethodDelete, p.images()+"/"+imageID, nil, nil)
}

// SetTag moves an image to another tag.
func (p *Project) SetTag(ctx context.Context, imageID, tag string) error {
	return p.team.Call(ctx, http.MethodPatch, p.images()+"/"+imageID, Object{"tag": tag}, nil)
}

// Order puts the images into the order of the ids.
func (p *Project) Order(ctx context.Context, imageIDs ...string) error {
	return p.team.Call(ctx, http.MethodPut, p.images()+"/order", imageIDs, nil)
}
