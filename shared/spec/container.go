package spec

import "strings"

// Container is the configuration of one container image, as the team API
// documents it. Every part may be absent: a nil pointer or nil slice means
// "not said here", an empty slice means "said to be none". That difference is
// what Merge works on; Normalize removes it.
type Container struct {
	// Name is the container's name below the deployment's prefix: a DNS label.
	Name *string

	Environment []KeyValue
	Secrets     []Secret
	Routing     *Routing
	Expose      *Expose
	// User is the numeric id the main process runs as; -1 and nil mean the
	// image's own.
	User             *int64
	TTY              *bool
	WorkingDirectory *string
	ConfigContainer  *ConfigContainer
	Ports            []Port
	PortRanges       []PortRange
	Volumes          []Volume
	// Commands replaces the image's entrypoint, Args its command.
	Commands       []Key
	Args           []Key
	InitContainers []InitContainer
	Capabilities   []KeyValue
	Storage        *Storage
	// Replicas is how many identical containers run; nil means 1.
	Replicas *int32
	// Hooks are run once for each release that makes containers anew.
	Hooks *Hooks

	// Read by Docker.
	LogConfig     *LogConfig
	RestartPolicy *RestartPolicy
	NetworkMode   *NetworkMode
	Networks      []Key
	DockerLabels  []KeyValue
	ExpectedState *ExpectedState

	// Read by Kubernetes.
	DeploymentStrategy *DeploymentStrategy
	CustomHeaders      []Key
	ProxyHeaders       *bool
	UseLoadBalancer    *bool
	ExtraLBAnnotations []KeyValue
	HealthCheckConfig  *HealthCheckConfig
	ResourceConfig     *ResourceConfig
	Annotations        *Markers
	Labels             *Markers
	Metrics            *Metrics
}

// KeyValue is one entry of a list of pairs. ID is the client's own, kept so
// that the client recognises the entry; it has no effect on the container.
type KeyValue struct {
	ID    string
	Key   string
	Value string
}

// Key is one entry of a list of single words.
type Key struct {
	ID  string
	Key string
}

// Secret is a value that only the node may read. Images declare keys;
// instances carry values sealed to the node's public key. The key is the name
// of an environment variable or the path of a file; see File.
type Secret struct {
	ID       string
	Key      string
	Required bool
	// Value is ciphertext once Encrypted is true; empty when not entered yet.
	Value     string
	Encrypted bool
	PublicKey string
}

// SecretFolder is where secrets are in a container that are files.
const SecretFolder = "/run/secrets"

// File returns the name of the file below SecretFolder that the secret is in the
// container, when its key is that file's path; ok is false when it is an
// environment variable.
func (s Secret) File() (name string, ok bool) { return strings.CutPrefix(s.Key, SecretFolder+"/") }

// Routing says under which host and path a reverse proxy serves the container.
type Routing struct {
	Domain    string
	Path      string
	StripPath bool
	// UploadLimit is a size such as "10m"; empty means the proxy's own.
	UploadLimit string
	// Port is the container port routed to; 0 means the first port.
	Port int32
}

// ConfigContainer copies Path of Image onto Volume before the container starts.
type ConfigContainer struct {
	Image     string
	Volume    string
	Path      string
	KeepFiles bool
}

// Port is one port of the container, published when External is set.
type Port struct {
	ID       string
	Internal int32
	External *int32
	// Protocol is "tcp" or "udp"; empty means tcp.
	Protocol string
	// Address is the host address published on; empty means all.
	Address string
}

// PortRange publishes a range of container ports on an equally long range of
// host ports.
type PortRange struct {
	ID       string
	Internal Range
	External Range
	Protocol string
}

// Range is a closed range of ports, From <= To.
type Range struct {
	From int32
	To   int32
}

// Volume is a place in the container that outlives it, or (mem, tmp) does not.
type Volume struct {
	ID   string
	Name string
	Path string
	// Size is a quantity such as "1Gi"; empty means unlimited.
	Size  string
	Type  VolumeType
	Class string
}

// InitContainer runs to completion before the container starts, in order.
type InitContainer struct {
	ID              string
	Name            string
	Image           string
	Command         []Key
	Args            []Key
	Environment     []KeyValue
	UseParentConfig bool
	Volumes         []VolumeLink
}

// VolumeLink mounts a volume of the parent container under another path.
type VolumeLink struct {
	ID   string
	Name string
	Path string
}

// Storage fills the volume named Path with files from a bucket.
type Storage struct {
	StorageID string
	Path      string
	// Bucket is the bucket's name, or its name, a slash and the folder in it
	// that counts.
	Bucket string
	// URL of the S3-compatible service, of when the deployment was rendered.
	URL string
	// Keys is filled in only on the way to the node; it is never stored and is
	// not part of the hash. Nil means that the bucket is public.
	Keys *StorageKeys
}

// StorageKeys open a bucket. On the way, and on the node's disk, each is sealed
// to the node's public key.
type StorageKeys struct {
	Access string
	Secret string
}

// LogConfig chooses the engine's log driver.
type LogConfig struct {
	Driver  LogDriver
	Options []KeyValue
}

// ExpectedState says what a started container should come to.
type ExpectedState struct {
	State ContainerState
	// TimeoutSeconds bounds the wait; 0 means the agent's default.
	TimeoutSeconds int32
	ExitCode       int32
}

// HealthCheckConfig are HTTP probes on one port; an empty path means no probe.
type HealthCheckConfig struct {
	Port           int32
	LivenessProbe  string
	ReadinessProbe string
	StartupProbe   string
}

// ResourceConfig bounds and reserves CPU and memory.
type ResourceConfig struct {
	Limits   *Resources
	Requests *Resources
}

// Resources are quantities such as "250m" and "64Mi"; empty means not said.
type Resources struct {
	CPU    string
	Memory string
}

// Markers are labels or annotations by the kind of object they go on.
type Markers struct {
	Deployment []KeyValue
	Service    []KeyValue
	Ingress    []KeyValue
}

// Metrics tells a collector where the container serves its metrics.
type Metrics struct {
	Enabled bool
	Path    string
	Port    int32
}
