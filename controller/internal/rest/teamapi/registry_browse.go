package teamapi

import (
	"context"
	"net/http"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/registry"
)

// BrowseInput picks a part of what a registry lists.
type BrowseInput struct {
	RegistryPath
	Skip   int    `query:"skip" minimum:"0"`
	Take   int    `query:"take" minimum:"1" maximum:"1000" default:"100"`
	Filter string `query:"filter" maxLength:"200" doc:"Part of the name"`
}

func (in BrowseInput) query() registry.Query {
	return registry.Query{Filter: in.Filter, Skip: in.Skip, Take: in.Take}
}

type tagsInput struct {
	BrowseInput
	Repository string `query:"repository" maxLength:"255" doc:"Name of an image below the registry, without tag; needed"`
}

type digestInput struct {
	RegistryPath
	Repository string `query:"repository" maxLength:"255" doc:"Name of an image below the registry, without tag; needed"`
	Reference  string `query:"reference" maxLength:"255" doc:"A tag, or a digest; needed"`
}

type namesPage struct {
	Items    []string `json:"items"`
	Total    int      `json:"total"`
	Complete bool     `json:"complete" doc:"False when the registry has more than 10000, which are not read"`
}

type manifestOutput struct {
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size" doc:"Of the manifest, in bytes"`
}

func (a *api) registryBrowseRoutes() {
	const (
		tag = "Registries"
		one = "/api/{teamSlug}/registries/{registryId}"
	)
	refusals := []int{http.StatusPreconditionFailed, http.StatusNotImplemented, http.StatusServiceUnavailable}
	add(a, route{method: http.MethodGet, path: one + "/repositories", summary: "List a registry's repositories", tag: tag,
		action: authz.RegistryRead, errors: refusals, waits: true}, a.listRepositories)
	add(a, route{method: http.MethodGet, path: one + "/tags", summary: "List a repository's tags", tag: tag,
		action: authz.RegistryRead, errors: refusals, waits: true}, a.listTags)
	add(a, route{method: http.MethodGet, path: one + "/digest", summary: "Get what a tag stands for", tag: tag,
		action: authz.RegistryRead, errors: refusals, waits: true}, a.getDigest)
}

func (a *api) listRepositories(ctx context.Context, in *BrowseInput) (*ok[namesPage], error) {
	page, err := a.deps.Registries.Repositories(ctx, in.RegistryID, in.query())
	if err != nil {
		return nil, err
	}
	return respond(namesPage{Items: page.Names, Total: page.Total, Complete: page.Complete}), nil
}

func (a *api) listTags(ctx context.Context, in *tagsInput) (*ok[namesPage], error) {
	page, err := a.deps.Registries.Tags(ctx, in.RegistryID, in.Repository, in.query())
	if err != nil {
		return nil, err
	}
	return respond(namesPage{Items: page.Names, Total: page.Total, Complete: page.Complete}), nil
}

func (a *api) getDigest(ctx context.Context, in *digestInput) (*ok[manifestOutput], error) {
	m, err := a.deps.Registries.Manifest(ctx, in.RegistryID, in.Repository, in.Reference)
	if err != nil {
		return nil, err
	}
	return respond(manifestOutput{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size}), nil
}
