package docker

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
)

// Labels on everything the driver makes. They alone decide what is ours.
const (
	labelPrefix = "dev.fairlead."

	labelManaged = labelPrefix + "managed"
	// labelNamespace is the prefix. It says what a container belongs to: the
	// deployment under a prefix changes with the project's version.
	labelNamespace  = labelPrefix + "prefix"
	labelDeployment = labelPrefix + "deployment"
	labelInstance   = labelPrefix + "instance"
	labelRelease    = labelPrefix + "release"
	labelSpecHash   = labelPrefix + "spec-hash"
	labelName       = labelPrefix + "name"
	// labelEnds is on containers that are meant to end.
	labelEnds = labelPrefix + "ends"
	// labelReplica is the number of a container where its workload has several.
	labelReplica = labelPrefix + "replica"
	// labelImageDigest is what the image's reference stood for in its
	// repository.
	labelImageDigest = labelPrefix + "image-digest"
	// labelAttempt tells the containers of one Apply from all others.
	labelAttempt = labelPrefix + "attempt"
	// labelStops lists the containers, by engine id, that are stopped for this
	// one: written down before any of them is, it tells after a crash which of
	// the stopped ones have to run again.
	labelStops = labelPrefix + "stops"
	// LabelRoute says what the route of a container is, LabelEdge marks the
	// proxy of routes; both are the router's.
	LabelRoute = labelPrefix + "route"
	LabelEdge  = labelPrefix + "edge"
	// labelAdopted is the engine name that an adopted container has until it is
	// replaced. It and the others of such a container are in the ledger of
	// adoptions and not on the engine.
	labelAdopted = labelPrefix + "adopted"
	// labelLiveness is what a running container is asked again and again, where
	// its livenessProbe says so.
	labelLiveness = labelPrefix + "liveness"
	// labelInit is the name of an init container, absent on others.
	labelInit = labelPrefix + "init"
	// labelHook is the kind of a hook, absent on others.
	labelHook = labelPrefix + "hook"
)

func workloadLabels(d spec.Deployment, w spec.Workload) map[string]string {
	labels := map[string]string{
		labelManaged:    "true",
		labelDeployment: d.ID,
		labelInstance:   w.InstanceID,
		labelRelease:    strconv.FormatInt(d.Release, 10),
		labelSpecHash:   w.Hash,
		labelNamespace:  d.Prefix,
		labelName:       w.Name(),
	}
	if expected(w).State == spec.StateExited {
		labels[labelEnds] = "true"
	}
	return labels
}

// place is what an owned container is to its workload. Labels cannot change
// once a container exists, so the engine name tells: other containers of a
// workload bear its name with a suffix, which a DNS label cannot have, or, for
// the one kept for inspection, with the release that failed.
type place int

const (
	placeServing  place = iota
	placeNext           // of a release being brought up
	placePrevious       // replaced, not yet retired
	placeInit           // an init container
	placeHook           // a hook, begun or not; see hook.go
	placeFailed         // kept for inspection
	placeStray          // renamed by somebody else
)

const (
	suffixNext     = ".next"
	suffixPrevious = ".previous"
	suffixInit     = ".init-"
	suffixFailed   = "-failed-"
)

// owned is a container of the driver's own making, as it was last seen.
type owned struct {
	id         string
	engineName string
	// name is the workload's below the prefix.
	name string
	// base is the engine name of the workload's serving container.
	base       string
	prefix     string
	deployment string
	instance   string
	specHash   string
	imageID    string
	digest     string
	place      place
	release    int64
	state      string
	// hook is the kind of the hook that it is, empty for others.
	hook spec.HookKind
	// ends is true when the container is meant to end.
	ends bool
	// adopted is the engine name that it had when it was adopted, empty for one
	// that was made by the driver.
	adopted string
	// attempt is the Apply that made it, or adopted it.
	attempt string
	// others are the digests of other images, by reference; see
	// labelOtherDigests.
	others map[string]string
	// stops are the engine ids of the containers that are stopped for it.
	stops []string
}

func (o owned) running() bool { return o.state == container.StateRunning }

// ended reports whether the container holds nothing any more.
func (o owned) ended() bool {
	return o.state == container.StateCreated || o.state == container.StateExited || o.state == container.StateDead
}

// ownedBy reads a container's labels; ok is false for foreign containers.
func ownedBy(c container.Summary) (o owned, ok bool) {
	if c.Labels[labelManaged] != "true" {
		return owned{}, false
	}
	o = owned{
		id:         c.ID,
		engineName: engineName(c),
		name:       c.Labels[labelName],
		base:       spec.ContainerName(c.Labels[labelNamespace], c.Labels[labelName]),
		prefix:     c.Labels[labelNamespace],
		deployment: c.Labels[labelDeployment],
		instance:   c.Labels[labelInstance],
		specHash:   c.Labels[labelSpecHash],
		state:      c.State,
		imageID:    c.ImageID,
		digest:     cmp.Or(c.Labels[labelImageDigest], digestOf(c.Image)),
		ends:       c.Labels[labelEnds] == "true",
		others:     decodeOthers(c.Labels[labelOtherDigests]),
		attempt:    c.Labels[labelAttempt],
		adopted:    c.Labels[labelAdopted],
		hook:       spec.HookKind(c.Labels[labelHook]),
		stops:      strings.FieldsFunc(c.Labels[labelStops], func(r rune) bool { return r == ',' }),
	}
	if n := c.Labels[labelReplica]; n != "" {
		o.base += "-" + n
	}
	o.release, _ = strconv.ParseInt(c.Labels[labelRelease], 10, 64) // ours is a number
	switch rest, _ := strings.CutPrefix(o.engineName, o.base); {
	case o.hook != "":
		o.place = placeHook
	case o.adopted != "" && o.engineName == o.adopted:
		o.place = placeServing
	case !strings.HasPrefix(o.engineName, o.base):
		o.place = placeStray
	case strings.HasPrefix(rest, suffixFailed):
		o.place = placeFailed
	case c.Labels[labelInit] != "":
		o.place = placeInit
	case rest == "":
		o.place = placeServing
	case rest == suffixNext:
		o.place = placeNext
	case rest == suffixPrevious:
		o.place = placePrevious
	default:
		o.place = placeStray
	}
	return o, true
}

// home is the engine name that the container has while it serves.
func (o owned) home() string { return cmp.Or(o.adopted, o.base) }

func isManaged(c container.InspectResponse) bool {
	return c.Config != nil && c.Config.Labels[labelManaged] == "true"
}

// engineName returns the container's own name, not those that links give it.
func engineName(c container.Summary) string {
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}
