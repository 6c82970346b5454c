package composefile_test

import (
	"slices"
	"testing"

	"fairlead.dev/controller/internal/compose"
)

// Every key that is not carried over is named with its path, and so is a value
// that is not.
func TestEveryKeyThatIsLeftOutIsNamed(t *testing.T) {
	service := func(keys string) string { return "services: {a: {image: a, network_mode: none, " + keys + "}}" }
	for name, c := range map[string]struct{ file, path string }{
		"a service that others wait for and has no image": {"name: n\nservices: {a: {image: a, depends_on: [b]}, b: {build: .}}", "/services/a/depends_on/b"},
		"a driver of networks":                            {"name: n\nservices: {a: {image: a, networks: [n]}}\nnetworks: {n: {driver: overlay}}", "/networks/n/driver"},
		"a driver of volumes":                             {service("volumes: ['data:/v']") + "\nvolumes: {data: {driver: nfs}}", "/volumes/data/driver"},
		"options of a volume":                             {service("volumes: ['data:/v']") + "\nvolumes: {data: {driver_opts: {type: none}}}", "/volumes/data/driver_opts"},
		"a mount of another type":                         {service("volumes: [{type: npipe, source: /p, target: /p}]"), "/services/a/volumes/0"},
		"a cluster's volume":                              {service("volumes: [{type: cluster, source: c, target: /c}]"), "/services/a/volumes/0"},
		"an image as a volume":                            {service("volumes: [{type: image, source: i, target: /i}]"), "/services/a/volumes/0"},
		"two mounts at one path":                          {service("volumes: ['data:/tmp'], tmpfs: [/tmp]"), "/services/a/tmpfs/0"},
		"how a folder is propagated":                      {service("volumes: [{type: bind, source: /h, target: /h, bind: {propagation: rshared}}]"), "/services/a/volumes/0/bind/propagation"},
		"a folder that must be there":                     {service("volumes: [{type: bind, source: /h, target: /h, bind: {create_host_path: false}}]"), "/services/a/volumes/0/bind/create_host_path"},
		"how consistent a folder is":                      {service("volumes: [{type: bind, source: /h, target: /h, consistency: cached}]"), "/services/a/volumes/0/consistency"},
		"networks beside a mode":                          {service("networks: [default]"), "/services/a/networks"},
		"a network that is not in the file":               {"name: n\nservices: {a: {image: a, networks: [n]}}", "/services/a/networks/n"},
		"a mode of a port":                                {service("ports: [{target: 80, published: '80', mode: other}]"), "/services/a/ports/mode"},
		"a protocol":                                      {service("ports: ['80:80/sctp']"), "/services/a/ports"},
		"one of many ports":                               {service("ports: [{target: 80, published: 8000-8010}]"), "/services/a/ports"},
		"what is no port":                                 {service("expose: [99999]"), "/services/a/expose/0"},
		"the protocol of what is exposed":                 {service("expose: ['80/sctp']"), "/services/a/expose/0"},
		"a policy for restarts":                           {service("restart: sometimes"), "/services/a/restart"},
		"a secret that is not in the file":                {service("secrets: [s]"), "/services/a/secrets/0"},
		"what is no size":                                 {service("mem_limit: lots"), "/services/a/mem_limit"},
		"what is no number of processors":                 {service("deploy: {resources: {limits: {cpus: many}}}"), "/services/a/deploy/resources/limits/cpus"},
		"a mode of Swarm":                                 {service("deploy: {mode: global}"), "/services/a/deploy/mode"},
		"updates by Swarm":                                {service("deploy: {update_config: {parallelism: 2}}"), "/services/a/deploy/update_config"},
		"placement by Swarm":                              {service("deploy: {placement: {constraints: [node.role == manager]}}"), "/services/a/deploy/placement"},
		"too many containers":                             {service("scale: 100000"), "/services/a/scale"},
		"limits of processes":                             {service("ulimits: {nofile: 1024}"), "/services/a/ulimits"},
		"settings of the kernel":                          {service("sysctls: {net.core.somaxconn: 1024}"), "/services/a/sysctls"},
		"a runtime":                                       {service("runtime: kata"), "/services/a/runtime"},
		"an init":                                         {service("init: true"), "/services/a/init"},
		"a name of the host":                              {service("hostname: h"), "/services/a/hostname"},
		"names of hosts":                                  {service("extra_hosts: ['h:10.0.0.1']"), "/services/a/extra_hosts"},
		"servers of names":                                {service("dns: [10.0.0.1]"), "/services/a/dns"},
		"a read-only file system":                         {service("read_only: true"), "/services/a/read_only"},
		"options of security":                             {service("security_opt: ['apparmor:unconfined']"), "/services/a/security_opt"},
		"another's volumes":                               {service("volumes_from: ['container:x']"), "/services/a/volumes_from"},
		"hooks":                                           {service("post_start: [{command: x}]"), "/services/a/post_start"},
		"a platform":                                      {service("platform: linux/arm64"), "/services/a/platform"},
		"when to pull":                                    {service("pull_policy: always"), "/services/a/pull_policy"},
		"a signal":                                        {service("stop_signal: SIGINT"), "/services/a/stop_signal"},
		"time to stop":                                    {service("stop_grace_period: 1m"), "/services/a/stop_grace_period"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := convert(t, c.file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(plan.Unsupported, func(f compose.Finding) bool { return f.Path == c.path && f.Reason != "" }) {
				t.Errorf("unsupported are %+v, want %s among them", plan.Unsupported, c.path)
			}
		})
	}
}
