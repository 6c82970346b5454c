package docker

import (
	"context"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"fairlead.dev/dagent/internal/adoption"
)

// labelled is an engine on which containers that were adopted have the labels
// that they would have if the driver had made them. The engine itself cannot
// give labels to a container that is there.
type labelled struct {
	Engine
	adoptions *adoption.Ledger
}

// ContainerList lists adopted containers where a filter asks for their labels.
func (l labelled) ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error) {
	list, err := l.Engine.ContainerList(ctx, options)
	if err != nil || l.adoptions == nil {
		return list, err
	}
	for i := range list {
		list[i].Labels = l.with(list[i].ID, list[i].Labels)
	}
	ids := l.adoptions.Containers()
	if len(ids) == 0 || !options.Filters.Contains("label") {
		return list, nil
	}
	wide := options
	wide.Filters = filters.NewArgs()
	for _, key := range options.Filters.Keys() {
		for _, value := range options.Filters.Get(key) {
			if key != "label" && key != "id" {
				wide.Filters.Add(key, value)
			}
		}
	}
	for _, id := range ids {
		wide.Filters.Add("id", id)
	}
	adopted, err := l.Engine.ContainerList(ctx, wide)
	if err != nil {
		return nil, err
	}
	for _, c := range adopted {
		c.Labels = l.with(c.ID, c.Labels)
		listed := slices.ContainsFunc(list, func(o container.Summary) bool { return o.ID == c.ID })
		if !listed && options.Filters.MatchKVList("label", c.Labels) {
			list = append(list, c)
		}
	}
	return list, nil
}

func (l labelled) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	seen, err := l.Engine.ContainerInspect(ctx, id)
	if err == nil && l.adoptions != nil && seen.ContainerJSONBase != nil && seen.Config != nil {
		config := *seen.Config
		config.Labels = l.with(seen.ID, config.Labels)
		seen.Config = &config
	}
	return seen, err
}

// with returns the labels that a container counts as having.
func (l labelled) with(id string, own map[string]string) map[string]string {
	given, adopted := l.adoptions.Labels(id)
	if !adopted {
		return own
	}
	all := maps.Clone(own)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, given)
	return all
}
