package docker

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// slot is one container that a workload is to have, and what stands for it on
// the engine.
type slot struct {
	spec.Workload
	// base is the engine name of its serving container.
	base string
	// replica counts from 1 where a workload has several; else it is 0.
	replica int
	old     *owned
	// kept is true when old needs no change.
	kept bool
	// moved are the keys of other images that stand for something else now
	// than when old was made.
	moved []string
	// candidate is the container that is to become this one, and unlike what
	// keeps it from that.
	candidate *candidate
	unlike    []difference
	// beside is true when containers of the workload serve while this one is
	// brought up.
	beside bool
	// blueprint is the container to make; its image is not pinned yet.
	blueprint blueprint
	problems  problems
	// stops are the containers that must stop before this one can start, and
	// stopsForInit those that must before its init containers do.
	stops, stopsForInit []*retiree
	// gate is what it must pass, next the id of the container that is brought
	// up; both are filled in on the way.
	gate gate
	next string
}

// retiree is a container that ends with a release.
type retiree struct {
	owned
	seen container.InspectResponse
}

// decision is what is to be done. It is a pure function of what was seen and
// what is asked for.
type decision struct {
	slots    []*slot
	retiring []*retiree
	plan     workload.Plan
	// unlimited is that of the sight.
	unlimited bool
	// blocked is the workload whose name is taken, and why.
	blocked *spec.Workload
	reason  error
}

// planner adds to a container what its routes need, or says why it cannot have
// them. It asks nobody.
type planner func(dep spec.Deployment, w spec.Workload, b *blueprint) []error

// decide makes the plan.
func decide(dep spec.Deployment, seen sight, routes planner) decision {
	dec := decision{unlimited: seen.unlimited}
	byBase := map[string]*slot{}
	for i, w := range dep.Workloads {
		for _, s := range slotsOf(dep, w) {
			byBase[s.base] = s
			dec.slots = append(dec.slots, s)
			if whose, taken := seen.others[s.base]; taken && dec.reason == nil {
				dec.blocked = &dep.Workloads[i]
				dec.reason = apperr.New(apperr.Conflict,
					"a container named %s is already there and %s; remove or rename it, or choose another prefix or name", s.base, whose)
			}
		}
	}
	for _, s := range dec.slots {
		dec.adopt(dep, s, seen, routes)
	}
	for _, o := range seen.owned {
		if s := byBase[o.base]; s != nil && o.place == placeServing && s.candidate == nil {
			s.old = &o
			s.moved = seen.otherMoves(s.Workload, o)
			s.kept = o.specHash == s.Hash && seen.images[s.Image.Reference].runs(o) && len(s.moved) == 0
		}
	}
	for _, o := range seen.owned {
		s := byBase[o.base]
		if s != nil && (o.place == placeFailed || o.place == placeServing && s.kept) {
			continue
		}
		dec.retiring = append(dec.retiring, &retiree{owned: o, seen: seen.details[o.id]})
	}
	for _, s := range dec.slots {
		if s.candidate != nil {
			continue
		}
		dec.design(dep, s, routes)
		if err := takenPort(s.blueprint.portBindings(), seen.ports); err != nil && dec.reason == nil {
			dec.blocked, dec.reason = &s.Workload, err
		}
	}
	dec.describe(dep, seen)
	return dec
}

// slotsOf returns the containers that a workload is to have.
func slotsOf(dep spec.Deployment, w spec.Workload) []*slot {
	base := spec.ContainerName(dep.Prefix, w.Name())
	n := replicas(w)
	if n == 1 {
		return []*slot{{Workload: w, base: base}}
	}
	var list []*slot
	for i := 1; i <= n; i++ {
		list = append(list, &slot{Workload: w, base: spec.ReplicaName(base, i), replica: i})
	}
	return list
}

func replicas(w spec.Workload) int {
	if w.Container.Replicas == nil {
		return spec.DefaultReplicas
	}
	return int(*w.Container.Replicas)
}

// design decides how a container comes up: beside which others, after which
// have stopped, and under which names it can be found.
func (dec *decision) design(dep spec.Deployment, s *slot, routes planner) {
	if s.kept {
		return
	}
	s.blueprint, s.problems = build(dep, s.Workload, s.Image.Reference)
	s.problems.refused = append(s.problems.refused, routes(dep, s.Workload, &s.blueprint)...)
	for _, r := range dec.retiring {
		if r.ended() {
			continue
		}
		if (len(s.Container.InitContainers) > 0 || fills(s.Container)) && sharesVolume(s.Name(), s.blueprint, r) {
			s.stopsForInit = append(s.stopsForInit, r)
		}
		if conflicts(s.Name(), s.blueprint, r) {
			s.stops = append(s.stops, r)
		}
	}
	for _, r := range dec.retiring {
		same := r.place == placeServing && r.name == s.Name() && r.running()
		s.beside = s.beside || same && !slices.Contains(s.stops, r)
	}
	if s.replica > 0 {
		s.blueprint.config.Labels[labelReplica] = strconv.Itoa(s.replica)
		if s.blueprint.config.Hostname != "" {
			s.blueprint.config.Hostname = s.base
		}
		s.beside = s.beside || dec.keepsSome(s.Name())
	}
	if stops := slices.Concat(s.stopsForInit, s.stops); len(stops) > 0 {
		var ids []string
		for _, r := range stops {
			ids = append(ids, r.id)
		}
		slices.Sort(ids)
		s.blueprint.config.Labels[labelStops] = strings.Join(slices.Compact(ids), ",")
	}
	s.blueprint.address(dep, s)
}

// keepsSome reports whether any container of the workload stays.
func (dec *decision) keepsSome(name string) bool {
	return slices.ContainsFunc(dec.slots, func(s *slot) bool { return s.kept && s.Name() == name })
}

// describe writes down the plan, workload by workload.
func (dec *decision) describe(dep spec.Deployment, seen sight) {
	for _, w := range dep.Workloads {
		dec.plan.Workloads = append(dec.plan.Workloads, dec.planned(w, seen))
	}
	gone := map[string]*workload.PlannedWorkload{}
	for _, r := range dec.retiring {
		if r.place != placeServing || slices.ContainsFunc(dep.Workloads, func(w spec.Workload) bool { return w.Name() == r.name }) {
			continue
		}
		p := gone[r.name]
		if p == nil {
			p = &workload.PlannedWorkload{Name: r.name, InstanceID: r.instance, Action: workload.ActionRetire, DigestNow: r.digest}
			gone[r.name] = p
		}
		p.ReplicasNow++
		p.Containers = append(p.Containers, r.id)
	}
	var retired []workload.PlannedWorkload
	for _, p := range gone {
		slices.Sort(p.Containers)
		retired = append(retired, *p)
	}
	slices.SortFunc(retired, func(a, b workload.PlannedWorkload) int { return cmp.Compare(a.Name, b.Name) })
	dec.plan.Workloads = append(dec.plan.Workloads, retired...)
}

// planned tells what becomes of one workload.
func (dec *decision) planned(w spec.Workload, seen sight) workload.PlannedWorkload {
	image := seen.images[w.Image.Reference]
	p := workload.PlannedWorkload{
		Name: w.Name(), InstanceID: w.InstanceID, Image: w.Image.Reference, SpecHash: w.Hash,
		ReplicasThen: replicas(w), DigestThen: image.digest, Notes: remarks(w, seen),
	}
	kept, fresh := 0, 0
	for _, s := range dec.slots {
		if s.Name() != w.Name() {
			continue
		}
		if s.candidate != nil {
			return s.plannedAdoption(p)
		}
		if !s.kept {
			fresh++
			continue
		}
		kept++
		p.ReplicasNow++
		p.Containers = append(p.Containers, s.old.id)
		p.DigestNow = s.old.digest
		p.Starts = p.Starts || !s.old.running() && !s.old.ends
	}
	ending := 0
	for _, r := range dec.retiring {
		if r.place != placeServing || r.name != w.Name() {
			continue
		}
		ending++
		p.ReplicasNow++
		p.Containers = append(p.Containers, r.id)
		p.DigestNow = r.digest
		if p.Changes == nil {
			p.Changes = dec.changes(w, r, seen)
		}
	}
	slices.Sort(p.Containers)
	if dec.brings(w, seen) {
		p.Hooks = w.HookKinds()
	}
	p.Downtime = dec.downtime(w)
	switch {
	case len(p.Downtime) > 0:
		p.Action = workload.ActionRecreate
	case ending == 0 && fresh == 0:
		p.Action = workload.ActionKeep
	case kept > 0, p.ReplicasThen == 0 && ending > 0:
		p.Action = workload.ActionScale
	case ending > 0:
		p.Action = workload.ActionReplace
	default:
		p.Action = workload.ActionCreate
	}
	return p
}

// downtime says for what containers of a workload are stopped before new ones
// start.
func (dec *decision) downtime(w spec.Workload) []string {
	var reasons []string
	for _, s := range dec.slots {
		for _, r := range slices.Concat(s.stopsForInit, s.stops) {
			if r.name == w.Name() {
				reasons = append(reasons, why(s, r))
			}
		}
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// changes are the keys in which a container that ends differs from the one
// that takes its place.
func (dec *decision) changes(w spec.Workload, r *retiree, seen sight) []string {
	for _, s := range dec.slots {
		if s.Name() != w.Name() || s.kept {
			continue
		}
		if len(s.moved) > 0 && r.specHash == w.Hash && seen.images[s.Image.Reference].runs(r.owned) {
			return s.moved // nothing else can differ
		}
		list := slices.Concat(differences(s.blueprint, r.seen, r.specHash == w.Hash), s.moved)
		slices.Sort(list)
		return list
	}
	return nil
}
