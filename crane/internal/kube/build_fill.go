package kube

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/crane/internal/fetch"
	"fairlead.dev/shared/spec"
)

// What fills the volumes of a pod, before its own init containers run. The
// program is the agent's: it comes in the agent's image, and is handed to the
// configuration's image over a volume, since nobody knows which programs that
// one has.
const (
	namesOfFillers = "fairlead-"
	nameProvider   = namesOfFillers + "program"
	nameConfig     = namesOfFillers + "config"
	nameStorage    = namesOfFillers + "storage"
	volumeProgram  = namesOfFillers + "program"
	// folderProgram and folderTarget are where the fillers have program and
	// volume.
	folderProgram = "/.fairlead/program"
	folderTarget  = "/.fairlead/target"
	// program is the agent's in its own image.
	program = "/crane"
)

func stored(c spec.Container) bool { return c.Storage != nil && c.Storage.StorageID != "" }

// fillVolumes adds the init containers that fill volumes: first from the
// configuration's image, then from the storage.
func (b *built) fillVolumes(dep spec.Deployment, w spec.Workload, pod *corev1.PodSpec, image string) {
	c := w.Container
	if cc := c.ConfigContainer; cc != nil {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: volumeProgram, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		provider := filler(nameProvider, image)
		provider.Command = []string{program, "fill", fetch.Provide, folderProgram + program}
		provider.VolumeMounts = []corev1.VolumeMount{{Name: volumeProgram, MountPath: folderProgram}}
		verb := fetch.Mirror
		if cc.KeepFiles {
			verb = fetch.Overlay
		}
		copier := filler(nameConfig, cc.Image)
		copier.Command = []string{folderProgram + program, "fill", verb, strings.TrimRight(cc.Path, "/"), folderTarget}
		copier.VolumeMounts = []corev1.VolumeMount{
			{Name: volumeProgram, MountPath: folderProgram, ReadOnly: true}, {Name: cc.Volume, MountPath: folderTarget},
		}
		pod.InitContainers = append(pod.InitContainers, provider, copier)
	}
	if !stored(c) {
		return
	}
	owner := int64(-1)
	if c.User != nil {
		owner = *c.User
	}
	fetcher := filler(nameStorage, image)
	fetcher.Command = []string{program, "fill", fetch.Storage, strconv.FormatInt(owner, 10), folderTarget}
	fetcher.VolumeMounts = []corev1.VolumeMount{{Name: c.Storage.Path, MountPath: folderTarget}}
	fetcher.Env = []corev1.EnvVar{{Name: fetch.VariableURL, Value: c.Storage.URL}, {Name: fetch.VariableBucket, Value: c.Storage.Bucket}}
	if c.Storage.Keys != nil {
		fetcher.Env = append(fetcher.Env, b.storageKeys(dep, w)...)
	}
	pod.InitContainers = append(pod.InitContainers, fetcher)
}

// storageKeys adds the secret with the keys of the storage. Its name does not
// depend on them: other keys for the same bucket change no pod.
func (b *built) storageKeys(dep spec.Deployment, w spec.Workload) []corev1.EnvVar {
	s := w.Container.Storage
	name := b.name + "-storage-" + contentHash(map[string]string{"url": s.URL, "bucket": s.Bucket})
	b.rest = append(b.rest, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(dep, w, name),
		Data: map[string][]byte{fetch.VariableAccess: []byte(s.Keys.Access), fetch.VariableSecret: []byte(s.Keys.Secret)},
		Type: corev1.SecretTypeOpaque,
	})
	var from []corev1.EnvVar
	for _, key := range []string{fetch.VariableAccess, fetch.VariableSecret} {
		from = append(from, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key,
		}}})
	}
	return from
}

// filler is a container that may do with files of any owner what it likes, and
// nothing else.
func filler(name, image string) corev1.Container {
	return corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: ptr.To(int64(0)), AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
			Capabilities: &corev1.Capabilities{
				Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
			},
		},
	}
}

// writtenBefore reports whether a volume that its container only reads is
// written by what runs before it.
func writtenBefore(c spec.Container, v spec.Volume) bool {
	if v.Type != spec.VolumeReadOnly {
		return false
	}
	if c.ConfigContainer != nil && c.ConfigContainer.Volume == v.Name || stored(c) && c.Storage.Path == v.Name {
		return true
	}
	return slices.ContainsFunc(c.InitContainers, func(ic spec.InitContainer) bool {
		return slices.ContainsFunc(ic.Volumes, func(link spec.VolumeLink) bool { return link.Name == v.Name })
	})
}

func (p *problems) checkFills(c spec.Container, image string) {
	needs := func(key, name string) {
		if !slices.ContainsFunc(c.Volumes, func(v spec.Volume) bool { return v.Name == name }) {
			p.invalid(key, "%q is not the name of one of the volumes", name)
		}
	}
	if cc := c.ConfigContainer; cc != nil {
		needs("configContainer.volume", cc.Volume)
		if !strings.HasPrefix(cc.Path, "/") || strings.Trim(cc.Path, "/") == "" {
			p.invalid("configContainer.path", "%q is not the path of a folder in the image", cc.Path)
		}
	}
	if stored(c) {
		needs("storage.path", c.Storage.Path)
		if strings.Trim(c.Storage.Bucket, "/") == "" {
			p.invalid("storage.bucket", "is missing")
		}
	}
	if image == "" {
		const why = "the agent does not know its own image, whose program fills volumes; name it in CRANE_IMAGE"
		if c.ConfigContainer != nil {
			p.unsupported("configContainer", why)
		}
		if stored(c) {
			p.unsupported("storage", why)
		}
	}
	for i, ic := range c.InitContainers {
		if strings.HasPrefix(ic.Name, namesOfFillers) {
			p.invalid(fmt.Sprintf("initContainers[%d].name", i), "names that begin with %s are the agent's own", namesOfFillers)
		}
		for j, link := range ic.Volumes {
			needs(fmt.Sprintf("initContainers[%d].volumes[%d].name", i, j), link.Name)
		}
	}
}
