package docker

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// parallelInspects is how many containers are looked at at once for a list.
const parallelInspects = 4

// List returns every container on the engine, foreign ones included.
func (d *Driver) List(ctx context.Context) ([]workload.Container, error) {
	if err := d.reach(ctx); err != nil {
		return nil, err
	}
	all, err := d.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, engineError(err, "list the containers")
	}
	list := make([]workload.Container, len(all))
	images := map[string]struct{ name, tag string }{} // to read each reference once
	var details errgroup.Group
	details.SetLimit(parallelInspects)
	for i, c := range all {
		list[i] = see(c)
		image, known := images[c.Image]
		if !known {
			image.name, image.tag = imageOf(c.Image)
			images[c.Image] = image
		}
		list[i].ImageName, list[i].ImageTag = image.name, image.tag
		if !list[i].Managed || d.memory.recall(&list[i], d.options.Now()) {
			continue
		}
		details.Go(func() error {
			asOf, listed := d.memory.moment(), list[i]
			err := d.detail(ctx, &list[i])
			if err == nil {
				d.memory.remember(listed, list[i], asOf, d.options.Now())
			}
			return err
		})
	}
	if err := details.Wait(); err != nil {
		return nil, engineError(err, "look at the containers")
	}
	for i := range list {
		// The engine does not know what the agent's own probes say.
		if said := d.liveness.verdictOf(list[i].EngineID); said != "" && list[i].State == spec.StateRunning && list[i].Health != container.Unhealthy {
			list[i].Health = said
		}
	}
	// One that went away meanwhile is not listed.
	list = slices.DeleteFunc(list, func(c workload.Container) bool { return c.EngineID == "" })
	d.memory.keepOnly(list)
	d.runs.see(list)
	return list, nil
}

// detail adds what only an inspection tells. A container that is gone becomes
// the zero value.
func (d *Driver) detail(ctx context.Context, c *workload.Container) error {
	seen, err := d.engine.ContainerInspect(ctx, c.EngineID)
	if cerrdefs.IsNotFound(err) {
		*c = workload.Container{}
		return nil
	}
	if err != nil {
		return err
	}
	s := seen.State
	if s == nil {
		return nil
	}
	c.RestartCount = seen.RestartCount
	c.StartedAt, c.FinishedAt = readTime(s.StartedAt), readTime(s.FinishedAt)
	c.State, c.Reason = stateOf(s.Status, s.OOMKilled)
	c.ExitCode, c.OOMKilled, c.Health = 0, false, ""
	if !s.Running || s.Restarting {
		c.ExitCode, c.OOMKilled = s.ExitCode, s.OOMKilled
	}
	if hasHealthCheck(s) && s.Running {
		c.Health = s.Health.Status
	}
	return nil
}

// readTime reads a time of the engine, which has a year for never.
func readTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() <= 1 {
		return time.Time{}
	}
	return at.UTC()
}

// see turns what the engine lists of a container into what the port tells.
func see(c container.Summary) workload.Container {
	seen := workload.Container{
		ID:          workload.ContainerID{Name: engineName(c)},
		EngineID:    c.ID,
		ImageDigest: c.ImageID,
		Command:     c.Command,
		CreatedAt:   time.Unix(c.Created, 0).UTC(),
		Ports:       portsOf(c),
	}
	seen.State, seen.Reason = stateOf(c.State, false)
	seen.ExitCode, seen.Health = readStatus(c.Status)
	if o, ours := ownedBy(c); ours {
		seen.Managed = true
		seen.ID.Prefix, seen.ID.Name = o.prefix, strings.TrimPrefix(o.engineName, o.prefix+"-")
		if o.adopted != "" && o.place == placeServing {
			seen.ID.Name = o.name // whatever the engine calls it
		}
		if o.place == placeStray {
			seen.ID = workload.ContainerID{Name: o.engineName}
		}
		seen.DeploymentID, seen.InstanceID, seen.SpecHash = o.deployment, o.instance, o.specHash
		seen.Release, _ = strconv.ParseInt(c.Labels[labelRelease], 10, 64) // ours is a number
	}
	return seen
}

// imageOf splits an image reference; one that names no repository is kept whole.
func imageOf(text string) (name, tag string) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return text, ""
	}
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return reference.FamiliarName(named), tag
}

// readStatus reads how the engine says in its lists what only an inspection has
// as fields: "Exited (137) 2 hours ago", "Up 3 seconds (health: starting)".
func readStatus(status string) (exitCode int, health string) {
	before, rest, found := strings.Cut(status, " (")
	if !found {
		return 0, ""
	}
	inside, after, _ := strings.Cut(rest, ")")
	if before == "Exited" || before == "Restarting" {
		exitCode, _ = strconv.Atoi(inside) // always a number
		return exitCode, ""
	}
	if word := strings.TrimPrefix(inside, "health: "); after == "" && isHealth(word) {
		return 0, word
	}
	return 0, ""
}

func isHealth(word string) bool {
	return word == container.Healthy || word == container.Unhealthy || word == container.Starting
}

// portsOf lists each port once, though the engine has it for IPv4 and IPv6.
func portsOf(c container.Summary) []workload.Port {
	var ports []workload.Port
	seen := map[workload.Port]bool{}
	for _, p := range c.Ports {
		port := workload.Port{Internal: int32(p.PrivatePort), External: int32(p.PublicPort), Protocol: p.Type}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports
}

// find looks a container up by the name the team API has for it.
func (d *Driver) find(ctx context.Context, id workload.ContainerID) (container.InspectResponse, error) {
	if err := d.reach(ctx); err != nil {
		return container.InspectResponse{}, err
	}
	name := spec.ContainerName(id.Prefix, id.Name)
	if seen, adopted, err := d.findAdopted(ctx, id); adopted || err != nil {
		return seen, err
	}
	seen, err := d.engine.ContainerInspect(ctx, name)
	if err != nil {
		return seen, engineError(err, "find container %s", name)
	}
	// A prefix and a name can come to the engine name of another prefix and name.
	if id.Prefix != "" && isManaged(seen) && seen.Config.Labels[labelNamespace] != id.Prefix {
		return seen, apperr.New(apperr.NotFound, "find container %s: the one of that name is not under prefix %s", name, id.Prefix)
	}
	return seen, nil
}
