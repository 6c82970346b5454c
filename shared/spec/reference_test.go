package spec_test

import (
	"strings"
	"testing"

	"fairlead.dev/shared/spec"
)

// An image that a configuration names is read as an engine reads it.
func TestImagesOfAConfigurationAreReferences(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for text, good := range map[string]bool{
		"busybox":            true,
		"busybox:1.36-GLIBC": true,
		"registry.example.com:5000/group/app:1.0": true,
		"[::1]:5000/app":                  true,
		"group/app" + digest:              true,
		"localhost:5000/app:1.0" + digest: true,

		"":                                    false,
		"Busybox":                             false,
		"busybox:":                            false,
		"busybox:a b":                         false,
		"busybox:" + strings.Repeat("t", 129): false,
		"busybox@sha256:abc":                  false,
		"busybox@md5:" + digest[8:]:           false,
		"https://example.com/app":             false,
		strings.Repeat("a", 64):               false, // an id, not a name
		strings.Repeat("a/", 128) + "a":       false, // longer than a name may be
	} {
		conf := spec.Container{InitContainers: []spec.InitContainer{{Name: "init", Image: text}}}
		if faults := spec.ValidateContainer("config", conf); (len(faults) == 0) != good {
			t.Errorf("%q: %v, want it taken: %t", text, faults, good)
		}
	}
}
