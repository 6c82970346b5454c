package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
)

// defaultVolumeSize is what a volume asks for that names no size.
const defaultVolumeSize = "1Gi"

// volumes adds the claims of a workload's volumes and mounts them. Claims
// outlive the deployment: they hold what users keep.
func (b *built) volumes(dep spec.Deployment, w spec.Workload, pod *corev1.PodSpec, main *corev1.Container) error {
	for _, v := range w.Container.Volumes {
		size, err := quantity(v.Size)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		source := corev1.VolumeSource{}
		switch v.Type {
		case spec.VolumeMemory:
			source.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size}
		case spec.VolumeTemporary:
			source.EmptyDir = &corev1.EmptyDirVolumeSource{SizeLimit: size}
		default:
			claim := b.claim(dep, w, v, size)
			source.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: v.Type == spec.VolumeReadOnly && !writtenBefore(w.Container, v)}
		}
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: v.Name, VolumeSource: source})
		main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{
			Name: v.Name, MountPath: v.Path, ReadOnly: v.Type == spec.VolumeReadOnly,
		})
	}
	return nil
}

func (b *built) claim(dep spec.Deployment, w spec.Workload, v spec.Volume, size *resource.Quantity) string {
	if size == nil {
		q := resource.MustParse(defaultVolumeSize)
		size = &q
	}
	mode := map[spec.VolumeType]corev1.PersistentVolumeAccessMode{
		spec.VolumeReadOnly: corev1.ReadOnlyMany, spec.VolumeReadWriteMany: corev1.ReadWriteMany,
	}[v.Type]
	if mode == "" || writtenBefore(w.Container, v) {
		mode = corev1.ReadWriteOnce
	}
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: meta(dep, w, b.name+"-"+v.Name),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *size}},
		},
	}
	claim.Labels[labelKeep] = "true"
	if v.Class != "" {
		claim.Spec.StorageClassName = &v.Class
	}
	b.rest = append(b.rest, claim)
	return claim.Name
}
