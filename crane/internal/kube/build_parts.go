package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

func words(keys []spec.Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Key)
	}
	return out
}

func pairs(list []spec.KeyValue) map[string]string {
	out := map[string]string{}
	addPairs(out, list)
	return out
}

func addPairs(to map[string]string, list []spec.KeyValue) {
	for _, kv := range list {
		to[kv.Key] = kv.Value
	}
}

func bytesOf(m map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range m {
		out[k] = []byte(v)
	}
	return out
}

func protocol(name string) corev1.Protocol {
	if name == "udp" {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

func intstrOf(n int32) intstr.IntOrString { return intstr.FromInt32(n) }

func resources(c *spec.ResourceConfig) (corev1.ResourceRequirements, error) {
	var out corev1.ResourceRequirements
	if c == nil {
		return out, nil
	}
	var err error
	if out.Limits, err = resourceList(c.Limits); err != nil {
		return out, err
	}
	out.Requests, err = resourceList(c.Requests)
	return out, err
}

func resourceList(r *spec.Resources) (corev1.ResourceList, error) {
	if r == nil {
		return nil, nil
	}
	list := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: r.CPU, corev1.ResourceMemory: r.Memory} {
		q, err := quantity(text)
		if err != nil {
			return nil, err
		}
		if q != nil {
			list[name] = *q
		}
	}
	return list, nil
}

// security lets a container be no more than its image and configuration say.
func security(c spec.Container) *corev1.SecurityContext {
	s := &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
	if c.User != nil {
		s.RunAsUser = c.User
	}
	for _, kv := range c.Capabilities {
		if s.Capabilities == nil {
			s.Capabilities = &corev1.Capabilities{}
		}
		name, drop := capability(kv)
		if drop {
			s.Capabilities.Drop = append(s.Capabilities.Drop, corev1.Capability(name))
		} else {
			s.Capabilities.Add = append(s.Capabilities.Add, corev1.Capability(name))
		}
	}
	return s
}

// capability is the one spelling of a capability's name, as the cluster wants it,
// and whether it is taken away.
func capability(kv spec.KeyValue) (name string, drop bool) {
	value := strings.ToLower(kv.Value)
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(kv.Key)), "CAP_"), value == "drop" || value == "false"
}

// Periods of probes. A container is restarted after three failures in a row;
// one that starts has five minutes.
const (
	probePeriod     = 5
	probeFailures   = 3
	startupPeriod   = 2
	startupFailures = 150
)

func probes(c *spec.HealthCheckConfig, main *corev1.Container) {
	if c == nil || c.Port == 0 {
		return
	}
	probe := func(path string, period, failures int32) *corev1.Probe {
		if path == "" {
			return nil
		}
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstrOf(c.Port)}},
			PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: probePeriod,
		}
	}
	main.StartupProbe = probe(c.StartupProbe, startupPeriod, startupFailures)
	main.ReadinessProbe = probe(c.ReadinessProbe, startupPeriod, probeFailures)
	main.LivenessProbe = probe(c.LivenessProbe, probePeriod, probeFailures)
}

// initContainers run before the container, in their order.
func (b *built) initContainers(w spec.Workload, pod *corev1.PodSpec, main corev1.Container) {
	for _, ic := range w.Container.InitContainers {
		made := corev1.Container{
			Name: ic.Name, Image: ic.Image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: words(ic.Command), Args: words(ic.Args), SecurityContext: main.SecurityContext,
		}
		if ic.UseParentConfig {
			made.EnvFrom = main.EnvFrom
			made.VolumeMounts = mountsOf(main, volumeSecrets)
		}
		for _, kv := range ic.Environment {
			made.Env = append(made.Env, corev1.EnvVar{Name: kv.Key, Value: kv.Value})
		}
		for _, link := range ic.Volumes {
			made.VolumeMounts = append(made.VolumeMounts, corev1.VolumeMount{Name: link.Name, MountPath: link.Path})
		}
		pod.InitContainers = append(pod.InitContainers, made)
	}
}

// mountsOf returns where a container has a volume.
func mountsOf(c corev1.Container, volume string) []corev1.VolumeMount {
	var found []corev1.VolumeMount
	for _, mount := range c.VolumeMounts {
		if mount.Name == volume {
			found = append(found, mount)
		}
	}
	return found
}
