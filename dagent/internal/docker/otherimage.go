package docker

import (
	"maps"
	"slices"
	"strings"

	"fairlead.dev/shared/spec"
)

// labelOtherDigests is what the images of a workload's init and configuration
// containers stood for when the container was made: "reference digest", joined
// by commas, which neither has.
const labelOtherDigests = labelPrefix + "other-digests"

// otherImages lists the images of a container's init and configuration
// containers, once each, in their order.
func otherImages(c spec.Container) (references []string) {
	if c.ConfigContainer != nil {
		references = append(references, c.ConfigContainer.Image)
	}
	for _, ic := range c.InitContainers {
		if !slices.Contains(references, ic.Image) {
			references = append(references, ic.Image)
		}
	}
	return references
}

// otherImage is such an image, to be pulled with its parent's credentials when
// both come from the same registry.
func otherImage(w spec.Workload, reference string) spec.Image {
	image := spec.Image{Reference: reference}
	if registryOf(reference) == registryOf(w.Image.Reference) {
		image.Auth = w.Image.Auth
	}
	return image
}

func encodeOthers(digests map[string]string) string {
	var list []string
	for _, reference := range slices.Sorted(maps.Keys(digests)) {
		list = append(list, reference+" "+digests[reference])
	}
	return strings.Join(list, ",")
}

func decodeOthers(label string) map[string]string {
	var digests map[string]string
	for entry := range strings.SplitSeq(label, ",") {
		if reference, digest, ok := strings.Cut(entry, " "); ok {
			if digests == nil {
				digests = map[string]string{}
			}
			digests[reference] = digest
		}
	}
	return digests
}

// othersOf is what the other images of a workload were pulled as.
func (a *applying) othersOf(w spec.Workload) map[string]string {
	var digests map[string]string
	for _, reference := range otherImages(w.Container) {
		if digest := digestOf(a.pulled[reference].pinned); digest != "" {
			if digests == nil {
				digests = map[string]string{}
			}
			digests[reference] = digest
		}
	}
	return digests
}

// otherMoves are the images, as the API calls their keys, that stand for
// something else now than when the container was made. What nobody can tell has
// not moved.
func (seen sight) otherMoves(w spec.Workload, o owned) (keys []string) {
	moved := func(reference string) bool {
		was, is := o.otherDigest(reference), seen.images[reference]
		return was != "" && is.digest != "" && is.doubt == nil && was != is.digest
	}
	if cc := w.Container.ConfigContainer; cc != nil && moved(cc.Image) {
		keys = append(keys, "configContainer.image")
	}
	for _, ic := range w.Container.InitContainers {
		if moved(ic.Image) {
			keys = append(keys, "initContainers."+ic.Name+".image")
		}
	}
	return keys
}

// otherDigest is what another image was when the container was made, however it
// was pinned then; "" when it is not known.
func (o owned) otherDigest(reference string) string {
	for known, digest := range o.others {
		if imageName(known) == imageName(reference) {
			return digest
		}
	}
	return ""
}

// othersFor is what the other images that a workload names were when the
// container was made.
func (o owned) othersFor(w spec.Workload) map[string]string {
	var digests map[string]string
	for _, reference := range otherImages(w.Container) {
		if digest := o.otherDigest(reference); digest != "" {
			if digests == nil {
				digests = map[string]string{}
			}
			digests[reference] = digest
		}
	}
	return digests
}
