package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"fairlead.dev/dagent/internal/adoption"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Adopting. A container that somebody else made becomes that of a workload when
// it is what the driver would make of the workload, in everything that can be
// compared; it is not touched. That it is ours is in the ledger of adoptions
// alone, written when all else of the release is in place but the names, and
// taken back with them.

// candidate is a container that is to be adopted.
type candidate struct {
	name  string
	seen  container.InspectResponse
	image image.InspectResponse
	// refused is why it cannot be adopted, whatever it is like.
	refused error
	// record is what the ledger would have of it.
	record adoption.Container
}

// engineFacts are what the engine makes of what a container leaves open.
type engineFacts struct {
	logDriver, runtime, cgroups string
}

// act names a release in the ledger.
func act(dep spec.Deployment) string { return fmt.Sprintf("%s/%d", dep.ID, dep.Release) }

// lookAtCandidates looks at the containers that a deployment adopts. What it has
// adopted already, when it was applied before, is none.
func (d *Driver) lookAtCandidates(ctx context.Context, dep spec.Deployment, seen *sight) error {
	if len(dep.Adopt) == 0 || d.options.Adoptions == nil || d.options.Adoptions.Done(dep.Prefix, act(dep)) {
		return nil
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return engineError(err, "ask the docker engine about itself")
	}
	seen.facts = engineFacts{logDriver: info.LoggingDriver, runtime: info.DefaultRuntime, cgroups: info.CgroupVersion}
	seen.candidates = map[string]*candidate{}
	for _, request := range dep.Adopt {
		at := slices.IndexFunc(dep.Workloads, func(w spec.Workload) bool { return w.InstanceID == request.InstanceID })
		if at < 0 {
			return apperr.New(apperr.Invalid, "adopt: %q is none of the deployment's instances", request.InstanceID)
		}
		w := dep.Workloads[at]
		base := spec.ContainerName(dep.Prefix, w.Name())
		if slices.ContainsFunc(seen.owned, func(o owned) bool { return o.base == base && o.adopted == request.Container }) {
			continue
		}
		c, err := d.candidate(ctx, request.Container)
		if err != nil {
			return err
		}
		seen.candidates[w.InstanceID] = c
		switch {
		case c.refused != nil:
		case replicas(w) != 1:
			c.refused = apperr.New(apperr.Unsupported, "container %s cannot be adopted: %s is to have %d containers, and only one can be adopted", c.name, base, replicas(w))
		case slices.ContainsFunc(seen.owned, func(o owned) bool { return o.name == w.Name() && o.place == placeServing }):
			c.refused = apperr.New(apperr.Conflict, "container %s cannot be adopted: %s has a container of its own already; delete that first", c.name, base)
		default:
			delete(seen.others, c.name)
		}
	}
	return nil
}

// candidate looks at a container that is to be adopted. It fails only when the
// engine does.
func (d *Driver) candidate(ctx context.Context, name string) (*candidate, error) {
	c := &candidate{name: name}
	seen, err := d.engine.ContainerInspect(ctx, name)
	if err := unlessMissing(err); err != nil {
		return nil, engineError(err, "look at container %s", name)
	}
	c.seen = seen
	switch {
	// The engine also finds containers by the beginning of their id.
	case c.seen.ContainerJSONBase == nil, c.seen.Config == nil, strings.TrimPrefix(c.seen.Name, "/") != name:
		c.refused = apperr.New(apperr.NotFound, "container %s cannot be adopted: there is none of that name on this node", name)
	case isManaged(c.seen) && !d.isAdopted(c.seen.ID):
		c.refused = apperr.New(apperr.Conflict, "container %s cannot be adopted: it is a deployment's already, under prefix %s", name, c.seen.Config.Labels[labelNamespace])
	case isManaged(c.seen):
		c.refused = apperr.New(apperr.Conflict, "container %s cannot be adopted: it was adopted before, under prefix %s", name, c.seen.Config.Labels[labelNamespace])
	case slices.ContainsFunc(slices.Collect(maps.Keys(c.seen.Config.Labels)), isReserved):
		c.refused = apperr.New(apperr.Conflict, "container %s cannot be adopted: it is the agent's own", name)
	case c.seen.State == nil || c.seen.State.Status != container.StateRunning:
		c.refused = apperr.New(apperr.Precondition, "container %s cannot be adopted: it does not run", name)
	default:
		return c, d.lookAtImage(ctx, c)
	}
	return c, nil
}

// lookAtImage looks at what the image gave to a container that is to be adopted.
func (d *Driver) lookAtImage(ctx context.Context, c *candidate) (err error) {
	c.image, err = d.engine.ImageInspect(ctx, c.seen.Image)
	if err := unlessMissing(err); err != nil {
		return engineError(err, "look at the image of container %s", c.name)
	}
	if c.image.ID == "" {
		c.refused = apperr.New(apperr.Precondition, "container %s cannot be adopted: its image is not on this node any more, so that nobody can tell what came from it", c.name)
	}
	return nil
}

// unlessMissing is the engine's error but for things that are not there: then
// its answer is empty.
func unlessMissing(err error) error {
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// adopt compares the container that is to be adopted for a slot with the one
// that would be made for it.
func (dec *decision) adopt(dep spec.Deployment, s *slot, seen sight, routes planner) {
	c := seen.candidates[s.InstanceID]
	if c == nil {
		return
	}
	s.candidate = c
	if c.refused != nil {
		if dec.reason == nil {
			dec.blocked, dec.reason = &s.Workload, c.refused
		}
		return
	}
	b, problems := build(dep, s.Workload, s.Image.Reference)
	_ = problems // Check has let nothing of this through
	routes(dep, s.Workload, &b)
	picture := seen.images[s.Image.Reference]
	s.unlike = compare(b, c, picture, seen.facts)
	labels := map[string]string{labelAdopted: c.name}
	for key, value := range b.config.Labels {
		if isReserved(key) {
			labels[key] = value
		}
	}
	digest := c.digest(s.Image.Reference, picture)
	if digest != "" {
		labels[labelImageDigest] = digest
	}
	c.record = adoption.Container{ID: c.seen.ID, Labels: labels, Volumes: b.volumes}
	s.kept = true
	s.old = &owned{
		id: c.seen.ID, engineName: c.name, name: s.Name(), base: s.base, prefix: dep.Prefix, deployment: dep.ID, instance: s.InstanceID,
		specHash: s.Hash, imageID: c.seen.Image, digest: digest, adopted: c.name, state: c.seen.State.Status, release: dep.Release,
		ends: labels[labelEnds] != "",
	}
}

// digest is what the container's image has in the repository of a reference.
func (c *candidate) digest(ref string, p picture) string {
	if c.hasDigest(p.digest) {
		return p.digest
	}
	if named, err := reference.ParseDockerRef(ref); err == nil {
		return digestOf(pin(reference.TrimNamed(named), c.image))
	}
	return ""
}

func (c *candidate) hasDigest(digest string) bool {
	return digest != "" && slices.ContainsFunc(c.image.RepoDigests, func(text string) bool { return strings.HasSuffix(text, "@"+digest) })
}

// plannedAdoption tells what the plan has of a workload whose container is
// adopted, or cannot be.
func (s *slot) plannedAdoption(p workload.PlannedWorkload) workload.PlannedWorkload {
	p.Action = workload.ActionAdopt
	if s.old == nil {
		return p
	}
	p.ReplicasNow, p.Containers, p.DigestNow = 1, []string{s.old.id}, s.old.digest
	for _, d := range s.unlike {
		p.Changes = append(p.Changes, d.key)
		p.Notes = append(p.Notes, d.String())
	}
	if len(s.unlike) == 0 {
		p.Notes = append(p.Notes, s.remarks()...)
	}
	return p
}

// remarks are what an adopted container has that is no difference.
func (s *slot) remarks() []string {
	var list []string
	if s.candidate.name != s.base {
		list = append(list, fmt.Sprintf("the container stays %s, for the engine and for others on its networks, until it is replaced by %s", s.candidate.name, s.base))
	}
	if len(s.Container.InitContainers) > 0 || fills(s.Container) {
		list = append(list, "what runs before a container starts (initContainers, configContainer, storage) is not run for one that runs already")
	}
	return list
}

// unlikeCandidates returns why containers are not adopted that differ from what
// would be made.
func (dec *decision) unlikeCandidates() (*slot, error) {
	var first *slot
	var all []string
	for _, s := range dec.slots {
		if len(s.unlike) == 0 {
			continue
		}
		if first == nil {
			first = s
		}
		var list []string
		for _, d := range s.unlike {
			list = append(list, d.String())
		}
		all = append(all, fmt.Sprintf("container %s is not what would be made for %s: %s", s.candidate.name, s.base, strings.Join(list, "; ")))
	}
	if first == nil {
		return nil, nil //nolint:nilnil // nothing keeps any from being adopted
	}
	return first, apperr.New(apperr.Precondition, "%s. Nothing was touched; make the configuration fit, or start without adopting", strings.Join(all, ". "))
}

// takeOver makes the containers that are adopted ours. Until the release is in
// place it can be taken back.
func (a *applying) takeOver(ctx context.Context) error {
	var list []adoption.Container
	for _, s := range a.slots {
		if s.candidate == nil {
			continue
		}
		seen, err := a.engine.ContainerInspect(ctx, s.old.id)
		if err != nil {
			return engineError(err, "look at container %s before it is adopted", s.candidate.name)
		}
		if seen.State == nil || seen.State.Status != container.StateRunning {
			return apperr.New(apperr.Precondition, "container %s cannot be adopted: it does not run any more", s.candidate.name)
		}
		s.candidate.record.Labels[labelAttempt] = a.attempt
		list = append(list, s.candidate.record)
		a.adopting = append(a.adopting, s.old.id)
	}
	if len(list) == 0 {
		return nil
	}
	if err := a.options.Adoptions.Adopt(a.dep.Prefix, act(a.dep), list); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "note which containers are adopted: check the agent's state folder")
	}
	return nil
}

// undoAdopting takes takeOver back.
func (a *applying) undoAdopting() error {
	if len(a.adopting) == 0 {
		return nil
	}
	if err := a.options.Adoptions.Undo(a.dep.Prefix, a.adopting...); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "forget which containers were to be adopted: check the agent's state folder")
	}
	return nil
}

// undoAdoptions takes back those of a release that is not in place.
func (a *applying) undoAdoptions(found []owned) error {
	for _, o := range found {
		if o.place == placeServing && o.adopted != "" && o.isNew(found) {
			a.adopting = append(a.adopting, o.id)
		}
	}
	err := a.undoAdopting()
	a.adopting = nil
	return err
}

func (a *applying) tellOfAdoptions() {
	for _, s := range a.slots {
		if s.candidate == nil {
			continue
		}
		a.story.Tell(workload.Event{
			Level: workload.LevelInfo, InstanceID: s.InstanceID, Lines: []string{fmt.Sprintf("adopted container %s as %s", s.candidate.name, s.base)},
			State: spec.StateRunning, Reason: s.old.state, Digest: s.old.digest,
		})
	}
}
