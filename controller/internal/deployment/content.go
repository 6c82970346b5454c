package deployment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"fairlead.dev/shared/spec"
)

// configHash is of everything that makes a difference on a node but the tags
// and digests of the images: two releases with the same hash differ in nothing
// but what their images were. Images of init and configuration containers are
// part of it as they are written, with their tags.
func configHash(content spec.Deployment) string {
	h := sha256.New()
	for _, w := range content.Workloads {
		w.Image.Reference = repository(w.Image.Reference)
		w.Container = mapOtherImages(w.Container, written)
		fmt.Fprintf(h, "%s %d\n", spec.Hash(w), replicas(w))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func replicas(w spec.Workload) int32 {
	if w.Container.Replicas == nil {
		return 1
	}
	return *w.Container.Replicas
}

// repository returns a reference without tag and digest.
func repository(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if at := strings.LastIndex(reference, ":"); at > strings.LastIndex(reference, "/") {
		reference = reference[:at]
	}
	return reference
}

// digestIn returns the digest that a reference names itself; "" when it names
// none.
func digestIn(reference string) string {
	_, digest, _ := strings.Cut(reference, "@")
	return digest
}

// digestOf returns what the image of a workload of the release was; "" when
// nobody knows.
func (r Release) digestOf(w spec.Workload) string {
	if digest := digestIn(w.Image.Reference); digest != "" {
		return digest
	}
	return r.Digests[w.InstanceID]
}
