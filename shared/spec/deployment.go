// Package spec is the deployment spec: what a node is asked to run. It is
// plain Go. The wire form is in specpb; defaults are in Normalize alone, rules
// in Validate alone; agents apply what they are given or refuse it, and never
// guess.
package spec

import "fmt"

// Deployment is the fully rendered content of a release: everything a node
// needs to run it, with nothing left to look up.
type Deployment struct {
	// ID is the deployment's id, stable over its releases.
	ID string
	// Prefix is the deployment's namespace on its node: a DNS label.
	Prefix string
	// Release is the number of the release that froze this content.
	Release int64
	// Policy says how this release takes over from the one before it.
	Policy Policy
	// Workloads in the order they are started.
	Workloads []Workload
	// Adopt names containers that run already and become those of workloads as
	// they are. It is about the act and not about the content, like Policy.
	Adopt []Adoption
}

// Adoption makes a container that somebody else made the one of a workload.
type Adoption struct {
	// InstanceID is that of the workload.
	InstanceID string
	// Container is the container's name on its engine.
	Container string
}

// Workload is one instance of a deployment as the node runs it.
type Workload struct {
	// InstanceID is the instance's id, stable over releases.
	InstanceID string
	Image      Image
	// Container is normalised: Normalize has been applied.
	Container Container
	// Hash is Hash of the workload when it was rendered. Containers of
	// workloads with the same hash are alike but for what their image's tag
	// stood for when they were made.
	Hash string
}

// Image says where the image is pulled from.
type Image struct {
	// Reference is complete: registry host, repository and tag or digest.
	Reference string
	// RegistryID is the registry in the controller whose credentials serve.
	RegistryID string
	// Auth is filled in only on the way to the node; it is never stored and
	// is not part of the hash.
	Auth *RegistryAuth
}

// RegistryAuth is what the engine needs to log in to a registry.
type RegistryAuth struct {
	Server   string
	Username string
	Password string
}

// Name returns the workload's name below the prefix.
func (w Workload) Name() string {
	if w.Container.Name == nil {
		return ""
	}
	return *w.Container.Name
}

// ContainerName returns the name of a workload's container on its node.
func ContainerName(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "-" + name
}

// ReplicaName returns the name, below the prefix, of one container of a workload
// that has several; they count from 1.
func ReplicaName(name string, replica int) string {
	return fmt.Sprintf("%s-%d", name, replica)
}

// String identifies the deployment in messages without showing its content.
func (d Deployment) String() string {
	return fmt.Sprintf("deployment %s (prefix %s, release %d)", d.ID, d.Prefix, d.Release)
}
