package kube

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

// volumeSecrets is the volume of the secrets that are files.
const volumeSecrets = namesOfFillers + "secrets"

// Modes of secret files. The files are root's, whoever runs in the pod: a named
// user reads them by the group that the pod's volumes are given. Who an image
// runs as that says so itself the cluster does not tell.
const (
	modeOfUser  = 0o440
	modeOfRoot  = 0o400
	modeOfImage = 0o444
)

// secretsBy splits the secrets that have a value: those that are variables and
// those that are files, by their names.
func secretsBy(c spec.Container) (variables, files map[string]string) {
	variables, files = map[string]string{}, map[string]string{}
	for _, s := range c.Secrets {
		if s.Value == "" {
			continue
		}
		if name, isFile := s.File(); isFile {
			files[name] = s.Value
		} else {
			variables[s.Key] = s.Value
		}
	}
	return variables, files
}

// secret adds a secret whose name holds the hash of its content: pods keep what
// they were started with.
func (b *built) secret(dep spec.Deployment, w spec.Workload, what string, content map[string]string) (name string) {
	name = b.name + "-" + what + "-" + contentHash(content)
	b.rest = append(b.rest, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(dep, w, name),
		Data: bytesOf(content), Immutable: ptr.To(true), Type: corev1.SecretTypeOpaque,
	})
	return name
}

// secretFiles adds the secrets that are files, and mounts them where the
// container looks for them. The kubelet keeps them in memory.
func (b *built) secretFiles(dep spec.Deployment, w spec.Workload, pod *corev1.PodSpec, main *corev1.Container) {
	_, files := secretsBy(w.Container)
	if len(files) == 0 {
		return
	}
	mode := int32(modeOfImage)
	if user := w.Container.User; user != nil {
		mode = modeOfUser
		if *user == 0 {
			mode = modeOfRoot
		}
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: volumeSecrets, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: b.secret(dep, w, "files", files), DefaultMode: &mode,
	}}})
	main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: volumeSecrets, MountPath: spec.SecretFolder, ReadOnly: true})
}

// ownVolumes gives the volumes of a pod to the group of the user that its
// container runs as: new volumes are root's, and the kubelet knows no owner.
func ownVolumes(c spec.Container, pod *corev1.PodSpec) {
	if c.User == nil || *c.User == 0 || len(pod.Volumes) == 0 {
		return
	}
	pod.SecurityContext = &corev1.PodSecurityContext{
		FSGroup: c.User, FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
	}
}
