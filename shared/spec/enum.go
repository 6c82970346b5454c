package spec

import "slices"

// Expose says whether a reverse proxy serves the container, and how.
type Expose string

// Values of Expose.
const (
	ExposeNone    Expose = "none"
	ExposePlain   Expose = "expose"
	ExposeWithTLS Expose = "exposeWithTls"
)

// RestartPolicy is what the engine does when the main process ends.
type RestartPolicy string

// Values of RestartPolicy.
const (
	RestartAlways        RestartPolicy = "always"
	RestartUnlessStopped RestartPolicy = "unlessStopped"
	RestartNo            RestartPolicy = "no"
	RestartOnFailure     RestartPolicy = "onFailure"
)

// NetworkMode is how the container is attached to the host's network.
type NetworkMode string

// Values of NetworkMode.
const (
	NetworkNone   NetworkMode = "none"
	NetworkHost   NetworkMode = "host"
	NetworkBridge NetworkMode = "bridge"
)

// DeploymentStrategy is how a new release takes over from the old.
type DeploymentStrategy string

// Values of DeploymentStrategy.
const (
	StrategyRecreate DeploymentStrategy = "recreate"
	StrategyRolling  DeploymentStrategy = "rolling"
)

// VolumeType is how a volume is shared and how long it lives.
type VolumeType string

// Values of VolumeType.
const (
	VolumeReadOnly      VolumeType = "ro"
	VolumeReadWriteOnce VolumeType = "rwo"
	VolumeReadWriteMany VolumeType = "rwx"
	VolumeMemory        VolumeType = "mem"
	VolumeTemporary     VolumeType = "tmp"
)

// LogDriver is the engine's log driver by name.
type LogDriver string

// LogNodeDefault leaves the driver to the node.
const LogNodeDefault LogDriver = "nodeDefault"

// ContainerState is the state of a container in three words.
type ContainerState string

// Values of ContainerState.
const (
	StateRunning ContainerState = "running"
	StateWaiting ContainerState = "waiting"
	StateExited  ContainerState = "exited"
)

// Values returns the permitted words, for schemas and validation.
func (Expose) Values() []Expose {
	return []Expose{ExposeNone, ExposePlain, ExposeWithTLS}
}

// Values returns the permitted words, for schemas and validation.
func (RestartPolicy) Values() []RestartPolicy {
	return []RestartPolicy{RestartAlways, RestartUnlessStopped, RestartNo, RestartOnFailure}
}

// Values returns the permitted words, for schemas and validation.
func (NetworkMode) Values() []NetworkMode {
	return []NetworkMode{NetworkNone, NetworkHost, NetworkBridge}
}

// Values returns the permitted words, for schemas and validation.
func (DeploymentStrategy) Values() []DeploymentStrategy {
	return []DeploymentStrategy{StrategyRecreate, StrategyRolling}
}

// Values returns the permitted words, for schemas and validation.
func (VolumeType) Values() []VolumeType {
	return []VolumeType{VolumeReadOnly, VolumeReadWriteOnce, VolumeReadWriteMany, VolumeMemory, VolumeTemporary}
}

// Values returns the permitted words, for schemas and validation.
func (LogDriver) Values() []LogDriver {
	return []LogDriver{
		LogNodeDefault, "none", "gcplogs", "local", "json-file", "syslog", "journald",
		"gelf", "fluentd", "awslogs", "splunk", "etwlogs", "logentries",
	}
}

// Values returns the permitted words, for schemas and validation.
func (ContainerState) Values() []ContainerState {
	return []ContainerState{StateRunning, StateWaiting, StateExited}
}

type enum[T any] interface {
	~string
	Values() []T
}

func known[T interface {
	comparable
	enum[T]
}](v T) bool {
	return slices.Contains(v.Values(), v)
}
