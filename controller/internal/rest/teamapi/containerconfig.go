package teamapi

import "fairlead.dev/shared/spec"

// imageConfig is the configuration of an image: the document that is answered,
// and the one that is merged into what is stored. Its secrets are keys alone.
type imageConfig struct {
	Secrets optional[[]secretKey] `json:"secrets" required:"false"`
	ContainerConfig
}

// instanceConfig is what an instance says beyond its image. Its secrets have
// values, sealed to the node's public key by whoever entered them.
type instanceConfig struct {
	Secrets optional[[]sealedSecret] `json:"secrets" required:"false"`
	ContainerConfig
}

// ContainerConfig is what images and instances have in common.
type ContainerConfig struct {
	Name               optional[string]                  `json:"name" required:"false" doc:"A DNS label; the container is called <prefix>-<name>"`
	Environment        optional[[]keyValue]              `json:"environment" required:"false"`
	Routing            optional[configRouting]           `json:"routing" required:"false"`
	Expose             optional[spec.Expose]             `json:"expose" required:"false"`
	User               optional[int64]                   `json:"user" required:"false" doc:"Numeric user id; -1 is the image's own"`
	TTY                optional[bool]                    `json:"tty" required:"false"`
	WorkingDirectory   optional[string]                  `json:"workingDirectory" required:"false"`
	ConfigContainer    optional[configContainer]         `json:"configContainer" required:"false" doc:"Copies files from an image to a volume before the container starts"`
	Ports              optional[[]configPort]            `json:"ports" required:"false"`
	PortRanges         optional[[]configPortRange]       `json:"portRanges" required:"false"`
	Volumes            optional[[]configVolume]          `json:"volumes" required:"false"`
	Commands           optional[[]configKey]             `json:"commands" required:"false" doc:"Replaces the image's entrypoint"`
	Args               optional[[]configKey]             `json:"args" required:"false" doc:"Replaces the image's command"`
	InitContainers     optional[[]configInitContainer]   `json:"initContainers" required:"false"`
	Capabilities       optional[[]keyValue]              `json:"capabilities" required:"false"`
	Storage            optional[configStorage]           `json:"storage" required:"false"`
	Replicas           optional[int32]                   `json:"replicas" required:"false" doc:"How many identical containers run; null is 1"`
	Hooks              optional[configHooks]             `json:"hooks" required:"false" doc:"Commands that run once for a release, in a container like the image's own"`
	LogConfig          optional[configLog]               `json:"logConfig" required:"false" doc:"Docker only"`
	RestartPolicy      optional[spec.RestartPolicy]      `json:"restartPolicy" required:"false" doc:"Docker only"`
	NetworkMode        optional[spec.NetworkMode]        `json:"networkMode" required:"false" doc:"Docker only"`
	Networks           optional[[]configKey]             `json:"networks" required:"false" doc:"Docker only"`
	DockerLabels       optional[[]keyValue]              `json:"dockerLabels" required:"false" doc:"Docker only"`
	ExpectedState      optional[configExpectedState]     `json:"expectedState" required:"false" doc:"Docker only"`
	DeploymentStrategy optional[spec.DeploymentStrategy] `json:"deploymentStrategy" required:"false"`
	CustomHeaders      optional[[]configKey]             `json:"customHeaders" required:"false" doc:"Kubernetes only"`
	ProxyHeaders       optional[bool]                    `json:"proxyHeaders" required:"false" doc:"Kubernetes only"`
	UseLoadBalancer    optional[bool]                    `json:"useLoadBalancer" required:"false" doc:"Kubernetes only"`
	ExtraLBAnnotations optional[[]keyValue]              `json:"extraLBAnnotations" required:"false" doc:"Kubernetes only"`
	HealthCheckConfig  optional[configHealthCheck]       `json:"healthCheckConfig" required:"false"`
	ResourceConfig     optional[configResources]         `json:"resourceConfig" required:"false"`
	Annotations        optional[configMarkers]           `json:"annotations" required:"false" doc:"Kubernetes only; each list is merged on its own"`
	Labels             optional[configMarkers]           `json:"labels" required:"false" doc:"Kubernetes only; each list is merged on its own"`
	Metrics            optional[configMetrics]           `json:"metrics" required:"false" doc:"Kubernetes only"`
}

// listID lets a client recognise the entries of its lists. It has no other
// effect, except that an instance's secret replaces the image's with the same
// id.
type listID = string

type keyValue struct {
	ID    listID `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Key   string `json:"key"`
	Value string `json:"value" required:"false"`
}

type configKey struct {
	ID  listID `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Key string `json:"key"`
}

type secretKey struct {
	ID       listID `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Key      string `json:"key"`
	Required bool   `json:"required" required:"false"`
}

type sealedSecret struct {
	ID        listID `json:"id" required:"false" maxLength:"64" doc:"That of the image's secret; made up when left out"`
	Key       string `json:"key"`
	Required  bool   `json:"required" required:"false"`
	Value     string `json:"value" required:"false" doc:"Sealed to the node's public key when encrypted is true"`
	Encrypted bool   `json:"encrypted" required:"false"`
	PublicKey string `json:"publicKey" required:"false" doc:"The key it was sealed to"`
}

type configRouting struct {
	Domain      string `json:"domain" required:"false"`
	Path        string `json:"path" required:"false"`
	StripPath   bool   `json:"stripPath" required:"false"`
	UploadLimit string `json:"uploadLimit" required:"false" example:"10m"`
	Port        int32  `json:"port" required:"false" doc:"Port of the container that is routed to; 0 is its first"`
}

type configContainer struct {
	Image     string `json:"image"`
	Volume    string `json:"volume" doc:"Name of one of the volumes"`
	Path      string `json:"path" doc:"Folder in the image"`
	KeepFiles bool   `json:"keepFiles" required:"false"`
}

type configPort struct {
	ID       listID          `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Internal int32           `json:"internal"`
	External optional[int32] `json:"external" required:"false" doc:"Port of the host; null publishes nothing"`
	Protocol string          `json:"protocol" required:"false" doc:"tcp or udp; empty is tcp"`
	Address  string          `json:"address" required:"false" doc:"Address of the host; empty is all"`
}

type configPortRange struct {
	ID       listID      `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Internal configRange `json:"internal"`
	External configRange `json:"external"`
	Protocol string      `json:"protocol" required:"false" doc:"tcp or udp; empty is tcp"`
}

type configRange struct {
	From int32 `json:"from"`
	To   int32 `json:"to"`
}

type configVolume struct {
	ID    listID                    `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Name  string                    `json:"name"`
	Path  string                    `json:"path" doc:"Where it is in the container"`
	Size  string                    `json:"size" required:"false" example:"1Gi"`
	Type  optional[spec.VolumeType] `json:"type" required:"false"`
	Class string                    `json:"class" required:"false" doc:"Storage class, Kubernetes only"`
}

type configInitContainer struct {
	ID              listID             `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Name            string             `json:"name"`
	Image           string             `json:"image"`
	Command         []configKey        `json:"command" required:"false"`
	Args            []configKey        `json:"args" required:"false"`
	Environment     []keyValue         `json:"environment" required:"false"`
	UseParentConfig bool               `json:"useParentConfig" required:"false"`
	Volumes         []configVolumeLink `json:"volumes" required:"false"`
}

type configVolumeLink struct {
	ID   listID `json:"id" required:"false" maxLength:"64" doc:"Made up when left out"`
	Name string `json:"name"`
	Path string `json:"path"`
}

type configStorage struct {
	StorageID string `json:"storageId" required:"false"`
	Path      string `json:"path" required:"false" doc:"Name of the volume that gets the files"`
	Bucket    string `json:"bucket" required:"false"`
}

type configLog struct {
	Driver  spec.LogDriver `json:"driver" enum:"nodeDefault,none,gcplogs,local,json-file,syslog,journald,gelf,fluentd,awslogs,splunk,etwlogs,logentries"`
	Options []keyValue     `json:"options" required:"false"`
}

type configExpectedState struct {
	State    spec.ContainerState `json:"state" enum:"running,waiting,exited"`
	Timeout  int32               `json:"timeout" required:"false" doc:"Seconds; 0 leaves it to the agent"`
	ExitCode int32               `json:"exitCode" required:"false"`
}

type configHealthCheck struct {
	Port           int32  `json:"port" required:"false"`
	LivenessProbe  string `json:"livenessProbe" required:"false" doc:"HTTP path; empty is no probe"`
	ReadinessProbe string `json:"readinessProbe" required:"false" doc:"HTTP path; empty is no probe"`
	StartupProbe   string `json:"startupProbe" required:"false" doc:"HTTP path; empty is no probe"`
}

type configResources struct {
	Limits   optional[configQuantities] `json:"limits" required:"false"`
	Requests optional[configQuantities] `json:"requests" required:"false"`
}

type configQuantities struct {
	CPU    string `json:"cpu" required:"false" example:"250m"`
	Memory string `json:"memory" required:"false" example:"64Mi"`
}

type configMarkers struct {
	Deployment optional[[]keyValue] `json:"deployment" required:"false"`
	Service    optional[[]keyValue] `json:"service" required:"false"`
	Ingress    optional[[]keyValue] `json:"ingress" required:"false"`
}

type configMetrics struct {
	Enabled bool   `json:"enabled" required:"false"`
	Path    string `json:"path" required:"false"`
	Port    int32  `json:"port" required:"false"`
}

type configHooks struct {
	PreDeploy  optional[configHook] `json:"preDeploy" required:"false" doc:"Runs to its end before the release touches anything; when it fails, so does the release"`
	PostDeploy optional[configHook] `json:"postDeploy" required:"false" doc:"Runs when the release is in place; its failure is a warning in the deployment's log"`
}

type configHook struct {
	Command        []configKey `json:"command" required:"false" doc:"Replaces the image's entrypoint"`
	Args           []configKey `json:"args" required:"false" doc:"Replaces the image's command"`
	TimeoutSeconds int32       `json:"timeoutSeconds" required:"false" doc:"How long it may run; 0 is 600"`
}
