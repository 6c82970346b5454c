package docker

import (
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Each spelling asks for something of the host, in the words of a
// configuration. The node permits /srv/app and what is below it, and nothing
// else.
func TestEverySpellingIsRefused(t *testing.T) {
	root := t.TempDir()
	app, secret := filepath.Join(root, "app"), filepath.Join(root, "secret")
	agents := filepath.Join(root, "app", "agents")
	for _, folder := range []string{app + "/data", app + "2", secret, agents + "/identity"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, app+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret/..", app+"/data/up"); err != nil {
		t.Fatal(err)
	}
	policy := Policy{HostPaths: []string{app, "/"}, Private: []string{"/var/lib/fairlead-agent", "/run/fairlead-agent"}}
	narrow := Policy{HostPaths: []string{app}}

	folder := func(name string) func(*spec.Container) {
		return func(c *spec.Container) {
			c.Volumes = []spec.Volume{{Name: name, Path: "/v", Type: spec.VolumeReadWriteMany}}
		}
	}
	network := func(name string) func(*spec.Container) {
		return func(c *spec.Container) { c.Networks = []spec.Key{{Key: name}} }
	}
	mode := func(name spec.NetworkMode) func(*spec.Container) {
		return func(c *spec.Container) { c.NetworkMode = &name }
	}
	add := func(name string) func(*spec.Container) {
		return func(c *spec.Container) { c.Capabilities = []spec.KeyValue{{Key: name, Value: "add"}} }
	}
	log := func(driver, option, value string) func(*spec.Container) {
		return func(c *spec.Container) {
			c.LogConfig = &spec.LogConfig{Driver: spec.LogDriver(driver), Options: []spec.KeyValue{{Key: option, Value: value}}}
		}
	}
	for name, test := range map[string]struct {
		policy Policy
		ask    func(*spec.Container)
	}{
		"another folder":                      {narrow, folder("/etc")},
		"the root":                            {narrow, folder("/")},
		"a folder that begins alike":          {narrow, folder(app + "2")},
		"the folder above":                    {narrow, folder(root)},
		"out with ..":                         {narrow, folder(app + "/../secret")},
		"in and out with ..":                  {narrow, folder(app + "/data/../../secret")},
		"with .":                              {narrow, folder(app + "/./data")},
		"with //":                             {narrow, folder("//etc")},
		"a symbolic link":                     {narrow, folder(app + "/link")},
		"below a symbolic link":               {narrow, folder(app + "/data/up/secret")},
		"a folder that is not there":          {narrow, folder(app + "/missing")},
		"the socket":                          {narrow, folder("/var/run/docker.sock")},
		"the socket below an allowed folder":  {policy, folder("/var/run/docker.sock")},
		"the socket's other name":             {policy, folder("/run/docker.sock")},
		"/run below an allowed folder":        {policy, folder("/run")},
		"/proc below an allowed folder":       {policy, folder("/proc")},
		"a process below an allowed folder":   {policy, folder("/proc/1/root")},
		"/sys below an allowed folder":        {policy, folder("/sys/fs/cgroup")},
		"/dev below an allowed folder":        {policy, folder("/dev/sda")},
		"/etc below an allowed folder":        {policy, folder("/etc/cron.d")},
		"the engine's data":                   {policy, folder("/var/lib/docker/volumes")},
		"what holds the engine's data":        {policy, folder("/var/lib")},
		"the agent's folder":                  {policy, folder("/var/lib/fairlead-agent")},
		"the agent's key":                     {policy, folder("/var/lib/fairlead-agent/identity")},
		"the secret files of others":          {policy, folder("/run/fairlead-agent/secrets/x")},
		"what holds the agent's folder":       {Policy{HostPaths: []string{"/var/lib"}, Private: policy.Private}, folder("/var/lib")},
		"what is in the agent's folder":       {Policy{HostPaths: []string{app}, Private: []string{agents}}, folder(agents + "/identity")},
		"host network":                        {narrow, mode("host")},
		"host network as a network":           {narrow, network("host")},
		"another container's network":         {narrow, mode("container:abc")},
		"another container's as a network":    {narrow, network("container:abc")},
		"a namespace as a network":            {narrow, network("ns:/proc/1/ns/net")},
		"a network by its id":                 {narrow, network(strings.Repeat("0a", 32))},
		"a capability":                        {narrow, add("NET_ADMIN")},
		"a capability with CAP_":              {narrow, add("CAP_SYS_ADMIN")},
		"a capability in lower case":          {narrow, add("cap_sys_ptrace")},
		"all capabilities":                    {narrow, add("ALL")},
		"all capabilities in lower case":      {narrow, add("all")},
		"all capabilities with CAP_":          {narrow, add("CAP_ALL")},
		"another capability than the allowed": {Policy{Capabilities: []string{"NET_ADMIN"}}, add("SYS_ADMIN")},
		"all instead of the allowed":          {Policy{Capabilities: []string{"NET_ADMIN"}}, add("ALL")},
		"a log socket":                        {narrow, log("syslog", "syslog-address", "unix:///var/run/docker.sock")},
		"a log socket by its path":            {narrow, log("fluentd", "fluentd-address", "/var/run/docker.sock")},
		"a log socket in upper case":          {narrow, log("fluentd", "fluentd-address", "UNIX:///run/x.sock")},
		"a file of the host for the log":      {narrow, log("syslog", "syslog-tls-key", "/etc/ssl/private/key.pem")},
		"an endpoint for credentials":         {narrow, log("awslogs", "awslogs-credentials-endpoint", "/x")},
		"an option of another driver":         {narrow, log("json-file", "syslog-address", "tcp://h:1")},
		"an option of no driver":              {narrow, log("none", "max-size", "1m")},
		"a driver that is a plugin":           {narrow, log("vendor/plugin:latest", "mode", "blocking")},
	} {
		t.Run(name, func(t *testing.T) {
			w := spec.Workload{Image: spec.Image{Reference: "registry.test/web:1"}, Container: spec.Container{Name: pointer("web")}}
			test.ask(&w.Container)
			err := New(nil, Options{Policy: test.policy}).Check(spec.Deployment{Prefix: "p", Workloads: []spec.Workload{w}})
			if !apperr.Is(err, apperr.Unsupported) && !apperr.Is(err, apperr.Invalid) {
				t.Errorf("Check: %v, want a refusal", err)
			}
		})
	}
}

func TestWhatThePolicyPermits(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/data", 0o700); err != nil {
		t.Fatal(err)
	}
	policy := Policy{HostPaths: []string{root, "/etc/app"}, HostNetwork: true, Capabilities: []string{"cap_net_admin"}}
	for _, name := range []string{root, root + "/", root + "/data", "/etc/app"} {
		if err := policy.permitFolder(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	host := &container.HostConfig{NetworkMode: "host", CapAdd: []string{"NET_ADMIN", "CAP_NET_ADMIN", "CHOWN", "cap_chown"}}
	if refused := policy.permit(&container.Config{}, host, nil, ""); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	host.CapAdd = []string{"ALL", "SYS_ADMIN"}
	if refused := (Policy{HostNetwork: true, Capabilities: []string{"ALL"}}).permit(&container.Config{}, host, nil, ""); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

// A folder that is allowed brings along neither the system's own below it nor
// what holds that, until they are named themselves.
func TestAllowedFoldersDoNotBringTheSystemAlong(t *testing.T) {
	for _, own := range []string{
		"/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/root",
		"/run/docker.sock", "/var/run/docker.sock", "/run/docker", "/var/run/docker", "/run/containerd", "/var/run/containerd",
		"/run/podman", "/var/run/podman", "/run/user", "/run/systemd", "/run/dbus",
		"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers",
	} {
		for allowed := path.Dir(own); ; allowed = path.Dir(allowed) {
			for _, asked := range []string{own, own + "/below", path.Dir(own)} {
				if asked != allowed && covers(allowed, asked) {
					t.Errorf("%s is had where %s is allowed", asked, allowed)
				}
			}
			if allowed == "/" {
				break
			}
		}
		if !covers(own, own+"/below/mine") {
			t.Errorf("what is below %s is not had though that is allowed", own)
		}
	}
	for _, named := range []string{"/", "/var"} {
		if !covers(named, named) {
			t.Errorf("%s is not had though it is allowed by its name", named)
		}
	}
	if covers("/srv/app", "/srv/app2") {
		t.Error("a folder is had whose name begins like an allowed one")
	}
}

func TestNetworksOfOthersAreRefused(t *testing.T) {
	for _, mode := range []container.NetworkMode{"container:web", "ns:/proc/1/ns/net", "host"} {
		if refused := (Policy{}).permit(&container.Config{}, &container.HostConfig{NetworkMode: mode}, nil, ""); len(refused) == 0 {
			t.Errorf("%s is permitted", mode)
		}
	}
}

// Whatever the builders do not make is refused, whichever field it is in: also
// one that a later version of the engine's API has.
func TestWhatNobodyBuildsIsRefused(t *testing.T) {
	harmless := []string{
		"HostConfig.LogConfig", "HostConfig.NetworkMode", "HostConfig.PortBindings", "HostConfig.RestartPolicy", "HostConfig.CapAdd",
		"HostConfig.CapDrop", "HostConfig.Mounts", "HostConfig.Resources.CPUShares", "HostConfig.Resources.Memory",
		"HostConfig.Resources.NanoCPUs", "HostConfig.Resources.MemoryReservation",
		"Config.Hostname", "Config.User", "Config.ExposedPorts", "Config.Tty", "Config.Env", "Config.Cmd", "Config.Healthcheck",
		"Config.Image", "Config.WorkingDir", "Config.Entrypoint", "Config.Labels", "Config.StopSignal", "Config.StopTimeout",
		"Endpoint.Aliases", "Endpoint.Links", // names on the network, looked up when they are used
	}
	refusals := func(config container.Config, host container.HostConfig, endpoint network.EndpointSettings) int {
		networking := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"n": &endpoint}}
		return len(Policy{}.permit(&config, &host, networking, ""))
	}
	var config container.Config
	var host container.HostConfig
	var endpoint network.EndpointSettings
	if n := refusals(config, host, endpoint); n > 0 {
		t.Fatalf("nothing at all is refused %d times", n)
	}
	for path, v := range map[string]reflect.Value{
		"Config": reflect.ValueOf(&config).Elem(), "HostConfig": reflect.ValueOf(&host).Elem(), "Endpoint": reflect.ValueOf(&endpoint).Elem(),
	} {
		eachField(path, v, func(path string, field reflect.Value) {
			if slices.Contains(harmless, path) {
				return
			}
			field.Set(something(field.Type()))
			if refusals(config, host, endpoint) == 0 {
				t.Errorf("%s is not refused", path)
			}
			field.SetZero()
		})
	}
}

func TestMountsOfOtherKindsAreRefused(t *testing.T) {
	own := "/run/fairlead-agent/secrets/1"
	for name, m := range map[string]mount.Mount{
		"a volume with a driver that binds": {Type: mount.TypeVolume, Source: "v", Target: "/v", VolumeOptions: &mount.VolumeOptions{
			DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"type": "none", "o": "bind", "device": "/etc"}},
		}},
		"a volume that is a folder":       {Type: mount.TypeVolume, Source: "/etc", Target: "/v"},
		"a volume that is a folder of C:": {Type: mount.TypeVolume, Source: `C:\etc`, Target: "/v"},
		"a volume's folder":               {Type: mount.TypeVolume, Source: "v", Target: "/v", VolumeOptions: &mount.VolumeOptions{Subpath: "../.."}},
		"options of a tmpfs":              {Type: mount.TypeTmpfs, Target: "/v", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"exec"}}}},
		"shared propagation":              {Type: mount.TypeBind, Source: own, Target: "/v", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRShared}},
		"an image":                        {Type: mount.TypeImage, Source: "i", Target: "/v"},
		"a cluster volume":                {Type: mount.TypeCluster, Source: "c", Target: "/v"},
		"a pipe":                          {Type: mount.TypeNamedPipe, Source: `\\.\pipe\docker_engine`, Target: "/v"},
		"its own secrets to write":        {Type: mount.TypeBind, Source: own, Target: "/v"},
		"the secrets of others":           {Type: mount.TypeBind, Source: "/run/fairlead-agent/secrets/2", Target: "/v", ReadOnly: true},
		"its own secrets, spelled with a": {Type: mount.TypeBind, Source: own + "/../2", Target: "/v", ReadOnly: true},
	} {
		t.Run(name, func(t *testing.T) {
			policy := Policy{HostPaths: []string{"/run/fairlead-agent"}, Private: []string{"/run/fairlead-agent"}}
			if refused := policy.permit(&container.Config{}, &container.HostConfig{Mounts: []mount.Mount{m}}, nil, own); len(refused) == 0 {
				t.Error("it is permitted")
			}
		})
	}
}

// eachField visits every field that can be set, those of embedded and nested
// structs for themselves.
func eachField(path string, v reflect.Value, visit func(string, reflect.Value)) {
	for i := range v.NumField() {
		path := path + "." + v.Type().Field(i).Name
		if field := v.Field(i); field.Kind() == reflect.Struct && !slices.Contains([]string{"HostConfig.LogConfig", "HostConfig.RestartPolicy"}, path) {
			eachField(path, field, visit)
		} else {
			visit(path, field)
		}
	}
}

// something is a value of a type that says something.
func something(kind reflect.Type) reflect.Value {
	v := reflect.New(kind).Elem()
	switch kind.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(kind.Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(kind, 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(kind))
		v.SetMapIndex(reflect.New(kind.Key()).Elem(), reflect.New(kind.Elem()).Elem())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("host")
	case reflect.Array:
		v.Index(0).Set(something(kind.Elem()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		v.SetInt(1)
	}
	return v
}
