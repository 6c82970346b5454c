package kube

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/shared/spec"
)

// checkMarkers refuses labels and annotations that the API server would refuse,
// and those by which the agent knows what is its own.
func (p *problems) checkMarkers(c spec.Container) {
	if l := c.Labels; l != nil {
		p.checkLabels("labels.deployment", l.Deployment)
		p.checkLabels("labels.service", l.Service)
		p.checkLabels("labels.ingress", l.Ingress)
	}
	if a := c.Annotations; a != nil {
		p.checkKeys("annotations.deployment", a.Deployment)
		p.checkKeys("annotations.service", a.Service)
		p.checkKeys("annotations.ingress", a.Ingress)
	}
	p.checkKeys("extraLBAnnotations", c.ExtraLBAnnotations)
}

func (p *problems) checkLabels(key string, list []spec.KeyValue) {
	p.checkKeys(key, list)
	for i, kv := range list {
		if wrong := validation.IsValidLabelValue(kv.Value); len(wrong) > 0 {
			p.invalid(fmt.Sprintf("%s[%d].value", key, i), "%q: %s", kv.Value, strings.Join(wrong, "; "))
		}
	}
}

func (p *problems) checkKeys(key string, list []spec.KeyValue) {
	for i, kv := range list {
		at := fmt.Sprintf("%s[%d].key", key, i)
		if wrong := validation.IsQualifiedName(kv.Key); len(wrong) > 0 {
			p.invalid(at, "%q: %s", kv.Key, strings.Join(wrong, "; "))
		}
		if kv.Key == labelManaged || strings.HasPrefix(kv.Key, keyPrefix) {
			p.invalid(at, "%s is the agent's own: it knows by it what it made", kv.Key)
		}
	}
}

// checkVariables refuses names that a ConfigMap or a Secret cannot hold.
func (p *problems) checkVariables(c spec.Container) {
	refuse := func(key, name string) {
		if wrong := validation.IsConfigMapKey(name); len(wrong) > 0 {
			p.unsupported(key, fmt.Sprintf("%q: %s", name, strings.Join(wrong, "; ")))
		}
	}
	for i, kv := range c.Environment {
		refuse(fmt.Sprintf("environment[%d].key", i), kv.Key)
	}
	for i, s := range c.Secrets {
		key := fmt.Sprintf("secrets[%d].", i)
		name, isFile := s.File()
		if !isFile {
			name = s.Key
		}
		refuse(key+"key", name)
		if s.Required && s.Value == "" {
			p.invalid(key+"value", "the required secret %s has no value", s.Key)
		}
	}
}

// checkVolumes refuses what no claim can be, and more pods than may have one.
func (p *problems) checkVolumes(c spec.Container) {
	for i, v := range c.Volumes {
		key := fmt.Sprintf("volumes[%d].", i)
		switch {
		case strings.HasPrefix(v.Name, "/"):
			p.unsupported(key+"name", "pods get no folders of their node; name a volume")
		case len(validation.IsDNS1123Label(v.Name)) > 0:
			p.invalid(key+"name", "%q must be lower-case letters, digits and '-'", v.Name)
		case strings.HasPrefix(v.Name, namesOfFillers):
			p.invalid(key+"name", "names that begin with %s are the agent's own", namesOfFillers)
		}
		if _, err := quantity(v.Size); err != nil {
			p.invalid(key+"size", "%v", err)
		}
		if c.Replicas == nil || *c.Replicas <= 1 {
			continue
		}
		switch {
		case v.Type == "" || v.Type == spec.VolumeReadWriteOnce:
			p.invalid(key+"type", "a volume of type rwo cannot be mounted by %d pods; type rwx can", *c.Replicas)
		case writtenBefore(c, v):
			p.invalid(key+"type", "a volume of type ro that is filled before the start can be mounted by one pod only; type rwx can by %d", *c.Replicas)
		}
	}
}

// checkCapabilities refuses what is both given and taken.
func (p *problems) checkCapabilities(c spec.Container) {
	dropped := map[string]bool{}
	for _, kv := range c.Capabilities {
		name, drop := capability(kv)
		if before, said := dropped[name]; said && before != drop {
			p.invalid("capabilities", "%s is both added and dropped", name)
		}
		dropped[name] = drop
	}
}
