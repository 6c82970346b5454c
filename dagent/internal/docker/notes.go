package docker

import (
	"fmt"

	"fairlead.dev/shared/spec"
)

// notes says what a configuration asks for that has no effect on Docker,
// beginning with the key: what other engines do with it, Docker has no
// counterpart for, and doing without is not wrong.
func notes(c spec.Container) []string {
	var list []string
	add := func(said bool, key, why string) {
		if said {
			list = append(list, fmt.Sprintf("%s has no effect on Docker: %s", key, why))
		}
	}
	for i, v := range c.Volumes {
		if v.Type != spec.VolumeMemory {
			add(v.Size != "", fmt.Sprintf("volumes[%d].size", i), "only volumes of type mem can be limited")
		}
		add(v.Class != "", fmt.Sprintf("volumes[%d].class", i), "there are no storage classes")
	}
	if a := c.Annotations; a != nil {
		add(len(a.Deployment) > 0, "annotations.deployment", "there are no annotations, dockerLabels are")
		add(len(a.Service) > 0, "annotations.service", "there are no services")
		add(len(a.Ingress) > 0, "annotations.ingress", "there are no ingresses")
	}
	if l := c.Labels; l != nil {
		add(len(l.Service) > 0, "labels.service", "there are no services")
		add(len(l.Ingress) > 0, "labels.ingress", "there are no ingresses")
	}
	add(len(c.ExtraLBAnnotations) > 0, "extraLBAnnotations", "there are no load balancers")
	add(c.Metrics != nil && c.Metrics.Enabled, "metrics", "nothing here collects them")
	add(endsForGood(c), "restartPolicy", "a container that is meant to end (expectedState exited) is not started again")
	return list
}

// noControlGroups is the driver of control groups of an engine that has none, as
// one without root often does not.
const noControlGroups = "none"

// limitsNote says so of a container.
const limitsNote = "resourceConfig has no effect on this engine: it has no control groups, and limits nothing"

func asksForLimits(c spec.Container) bool {
	r := c.ResourceConfig
	return r != nil && (r.Limits != nil || r.Requests != nil)
}

// endsForGood reports whether a restart policy would start a container again
// for ever that is meant to end.
func endsForGood(c spec.Container) bool {
	return c.ExpectedState != nil && c.ExpectedState.State == spec.StateExited &&
		c.RestartPolicy != nil && (*c.RestartPolicy == spec.RestartAlways || *c.RestartPolicy == spec.RestartUnlessStopped)
}
