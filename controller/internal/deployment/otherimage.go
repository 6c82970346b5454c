package deployment

import (
	"slices"
	"strings"

	"fairlead.dev/shared/spec"
)

// otherSeparator is between an instance and a reference: neither has one.
const otherSeparator = " "

// OtherImage is the key in Release.Digests of an image of an instance's init
// or configuration containers, by its reference as the release has it.
func OtherImage(instanceID, reference string) string { return instanceID + otherSeparator + reference }

// SplitImage returns what a key in Release.Digests is made of; the reference is
// empty for an instance's main image.
func SplitImage(key string) (instanceID, reference string) {
	instanceID, reference, _ = strings.Cut(key, otherSeparator)
	return instanceID, reference
}

// mapOtherImages returns a container with other references of its init and
// configuration containers.
func mapOtherImages(c spec.Container, change func(reference string) string) spec.Container {
	c.InitContainers = slices.Clone(c.InitContainers)
	for i := range c.InitContainers {
		c.InitContainers[i].Image = change(c.InitContainers[i].Image)
	}
	if c.ConfigContainer != nil {
		config := *c.ConfigContainer
		config.Image = change(config.Image)
		c.ConfigContainer = &config
	}
	return c
}

// otherImages lists the references of a container's init and configuration
// containers.
func otherImages(c spec.Container) (references []string) {
	mapOtherImages(c, func(reference string) string {
		references = append(references, reference)
		return reference
	})
	return references
}

// written is a reference as it was before it was pinned to a digest: without
// the digest if it has a tag besides.
func written(reference string) string {
	if tagged, _, _ := strings.Cut(reference, "@"); tagged != repository(tagged) {
		return tagged
	}
	return reference
}

// otherDigestOf returns what another image of a workload of the release was; ""
// when nobody knows.
func (r Release) otherDigestOf(w spec.Workload, reference string) string {
	if digest := digestIn(reference); digest != "" {
		return digest
	}
	return r.Digests[OtherImage(w.InstanceID, reference)]
}

// pinOthers pins a workload's other images to what they were in the release, as
// far as that is known: older agents did not tell.
func (r Release) pinOthers(w spec.Workload) spec.Container {
	return mapOtherImages(w.Container, func(reference string) string {
		if digest := r.otherDigestOf(w, reference); digest != "" && digestIn(reference) == "" {
			return reference + "@" + digest
		}
		return reference
	})
}

// sameOthers reports whether a workload of the release ran the other images
// that one with the same configuration would run, as far as anybody can know.
func (r Release) sameOthers(then, now spec.Workload) bool {
	was, is := otherImages(then.Container), otherImages(now.Container)
	for i := range is {
		before, after := r.otherDigestOf(then, was[i]), digestIn(is[i])
		if before != "" && after != "" && before != after {
			return false
		}
	}
	return true
}
