package composefile_test

import (
	"strings"
	"testing"
)

// Each file has services with one thing each that is near another one.
func TestCornersOfAFile(t *testing.T) {
	for _, c := range []example{
		{name: "all profiles", profiles: []string{"*"}, file: `
services:
  a: {image: a, network_mode: none, profiles: [debug]}
`, want: []string{
			"a image docker.io/library/a:latest", "a mode none",
		}},
		{name: "services left out", file: `
services:
  a: {image: a, network_mode: none, depends_on: {tool: {condition: service_started}}}
  b: {image: b, network_mode: none, depends_on: {tool: {condition: service_started, required: false}}}
  tool: {image: tool, network_mode: none, profiles: [debug]}
  bare: {network_mode: none}
`, want: []string{
			"a image docker.io/library/a:latest", "a mode none",
			"b image docker.io/library/b:latest", "b mode none",
			"unsupported /services/bare", "unsupported /services/a/depends_on/tool",
			"note /services/tool",
		}},
		{name: "what is elsewhere", file: `
name: n
services:
  a: {image: a, networks: [ext], volumes: ["local:/x"], secrets: [key], links: [b, "b:b"]}
  b: {image: b, networks: [plain]}
networks: {ext: {external: true}, plain: }
volumes: {local: {driver: local}}
secrets: {key: {external: true}}
`, want: []string{
			"b image docker.io/library/b:latest", "b networks n_plain",
			"a image docker.io/library/a:latest", "a volume local /x rwo ", "a secret /run/secrets/key true", "a networks ext",
		}},
		{name: "volumes that are in each other's way", file: `
services:
  path: {image: a, network_mode: none, volumes: ["one:/x", "two:/x/"]}
  name: {image: a, network_mode: none, volumes: ["both:/x", "both:/y"]}
  options: {image: a, network_mode: none, tmpfs: ["/a:rw", "/b:size=lots", "/c:1g"]}
  one: {image: a, network_mode: none, scale: 1, volumes: ["data:/x"]}
  bind: {image: a, network_mode: none, volumes: [{type: bind, source: /srv, target: /x, bind: {create_host_path: true}}, {type: bind, source: /etc, target: /y, bind: {create_host_path: false, propagation: shared}}]}
  npipe: {image: a, network_mode: none, volumes: [{type: npipe, source: p, target: /x}]}
`, want: []string{
			"path image docker.io/library/a:latest", "path volume two /x rwo ", "path mode none",
			"name image docker.io/library/a:latest", "name volume both /x rwo ", "name mode none",
			"options image docker.io/library/a:latest", "options volume a /a mem ", "options volume b /b mem ", "options volume c /c mem ", "options mode none",
			"one image docker.io/library/a:latest", "one volume data /x rwo ", "one mode none", "one replicas 1",
			"bind image docker.io/library/a:latest", "bind volume /srv /x rwo ", "bind volume /etc /y rwo ", "bind mode none",
			"npipe image docker.io/library/a:latest", "npipe mode none",
			"unsupported /services/name/volumes/1", "unsupported /services/options/tmpfs/1", "unsupported /services/options/tmpfs/2", "unsupported /services/bind/volumes/1/bind/create_host_path", "unsupported /services/bind/volumes/1/bind/propagation", "unsupported /services/npipe/volumes/0",
			"note /services/bind/volumes/0", "note /services/bind/volumes/1",
		}},
		{name: "ports that are no range", file: `
services:
  addresses: {image: a, network_mode: none, ports: ["127.0.0.1:80:80", "127.0.0.1:81:81"]}
  protocols: {image: a, network_mode: none, ports: ["80:80", "81:81/udp"]}
  inside: {image: a, network_mode: none, ports: ["80:80", "81:82"]}
  outside: {image: a, network_mode: none, ports: ["80:80", "82:81"]}
  exposed: {image: a, network_mode: none, expose: [80, 81, "80/udp"]}
  mixed: {image: a, network_mode: none, ports: ["80:80"], expose: [81, "80/udp"]}
  all: {image: a, network_mode: none, ports: ["0.0.0.0:80:80"]}
  long: {image: a, network_mode: none, ports: [{target: 80, published: "80", mode: ingress, name: web}]}
  picked: {image: a, network_mode: none, ports: [{target: 80, published: "0"}]}
  sctp: {image: a, network_mode: none, ports: ["80:80/sctp"]}
  range: {image: a, network_mode: none, ports: [{target: 80, published: "80-90"}]}
  wrong: {image: a, network_mode: none, expose: ["0", "65536", "5-4", "1-2000", "1/sctp", "x", "65535"]}
`, want: []string{
			"addresses image docker.io/library/a:latest", "addresses port 127.0.0.1 80:80/tcp", "addresses port 127.0.0.1 81:81/tcp", "addresses mode none",
			"protocols image docker.io/library/a:latest", "protocols port  80:80/tcp", "protocols port  81:81/udp", "protocols mode none",
			"inside image docker.io/library/a:latest", "inside port  80:80/tcp", "inside port  82:81/tcp", "inside mode none",
			"outside image docker.io/library/a:latest", "outside port  80:80/tcp", "outside port  81:82/tcp", "outside mode none",
			"exposed image docker.io/library/a:latest", "exposed port  80:-/tcp", "exposed port  81:-/tcp", "exposed port  80:-/udp", "exposed mode none",
			"mixed image docker.io/library/a:latest", "mixed port  80:80/tcp", "mixed port  81:-/tcp", "mixed port  80:-/udp", "mixed mode none",
			"all image docker.io/library/a:latest", "all port  80:80/tcp", "all mode none",
			"long image docker.io/library/a:latest", "long port  80:80/tcp", "long mode none",
			"picked image docker.io/library/a:latest", "picked port  80:-/tcp", "picked mode none",
			"sctp image docker.io/library/a:latest", "sctp mode none",
			"range image docker.io/library/a:latest", "range port  80:-/tcp", "range mode none",
			"wrong image docker.io/library/a:latest", "wrong port  65535:-/tcp", "wrong mode none",
			"unsupported /services/picked/ports", "unsupported /services/sctp/ports", "unsupported /services/range/ports", "unsupported /services/wrong/expose/0", "unsupported /services/wrong/expose/1", "unsupported /services/wrong/expose/2", "unsupported /services/wrong/expose/3", "unsupported /services/wrong/expose/4", "unsupported /services/wrong/expose/5",
		}},
		{name: "resources", file: `
services:
  none: {image: a, network_mode: none, cpus: 0, mem_limit: 0}
  request: {image: a, network_mode: none, deploy: {resources: {reservations: {cpus: "0.0001"}}}}
  limit: {image: a, network_mode: none, mem_limit: 1.5g}
  odd: {image: a, network_mode: none, mem_limit: 1025b}
  both: {image: a, network_mode: none, scale: 2, deploy: {replicas: 3}}
  global: {image: a, network_mode: none, deploy: {mode: global}}
  zero: {image: a, network_mode: none, scale: 0}
  huge: {image: a, network_mode: none, mem_limit: 9999999t, cpus: 100000}
  many: {image: a, network_mode: none, scale: 100000}
`, want: []string{
			"none image docker.io/library/a:latest", "none mode none",
			"request image docker.io/library/a:latest", "request mode none", "request requests 1m ",
			"limit image docker.io/library/a:latest", "limit mode none", "limit limits  1536Mi",
			"odd image docker.io/library/a:latest", "odd mode none", "odd limits  1025",
			"both image docker.io/library/a:latest", "both mode none", "both replicas 3",
			"global image docker.io/library/a:latest", "global mode none",
			"zero image docker.io/library/a:latest", "zero mode none", "zero replicas 0",
			"huge image docker.io/library/a:latest", "huge mode none",
			"many image docker.io/library/a:latest", "many mode none",
			"unsupported /services/global/deploy/mode", "unsupported /services/huge/cpus", "unsupported /services/huge/mem_limit", "unsupported /services/many/scale",
		}},
		{name: "the process", file: `
services:
  never: {image: a, network_mode: none, restart: "no"}
  times: {image: a, network_mode: none, restart: on-failure}
  other: {image: a, network_mode: none, restart: sometimes}
  root: {image: a, network_mode: none, user: "0"}
  below: {image: a, network_mode: none, user: "-1"}
  log: {image: a, network_mode: none, logging: {options: {max-size: 1m}}}
  unset: {image: a, network_mode: none, environment: {A: , B: ""}}
  emptied: {image: a, network_mode: none, entrypoint: []}
  target: {image: a, network_mode: none, secrets: [{source: key, target: /run/secrets/sub/key}, {source: key, target: /run/secrets/key}]}
secrets: {key: {external: true}}
`, want: []string{
			"never image docker.io/library/a:latest", "never mode none",
			"times image docker.io/library/a:latest", "times mode none", "times restart onFailure",
			"other image docker.io/library/a:latest", "other mode none",
			"root image docker.io/library/a:latest", "root mode none", "root user 0",
			"below image docker.io/library/a:latest", "below mode none",
			"log image docker.io/library/a:latest", "log mode none", "log log json-file [{1 max-size 1m}]",
			"unset image docker.io/library/a:latest", "unset env B=", "unset mode none",
			"emptied image docker.io/library/a:latest", "emptied mode none",
			"target image docker.io/library/a:latest", "target secret /run/secrets/key true", "target mode none",
			"unsupported /services/other/restart", "unsupported /services/below/user", "unsupported /services/emptied/entrypoint", "unsupported /services/target/secrets/0/target",
			"note /services/unset/environment/A",
		}},
		{name: "networks", file: `
name: n
services:
  mode: {image: a, network_mode: bridge, ports: ["80:80"]}
  named: {image: a, networks: {default: {aliases: [named]}}}
  old: {image: a, networks: [old, own]}
networks: {old: {external: {name: theirs}}, own: {external: {name: other}, name: other}}
`, want: []string{
			"mode image docker.io/library/a:latest", "mode port  80:80/tcp", "mode mode bridge",
			"named image docker.io/library/a:latest", "named networks n_default",
			"old image docker.io/library/a:latest", "old networks theirs|other",
		}},
	} {
		t.Run(c.name, c.check)
	}
}

// Why a key is not carried over says what to do instead.
func TestReasonsSayWhatToDoInstead(t *testing.T) {
	plan, err := convert(t, `
name: x
include: [other.yaml]
configs: {c: {file: c.conf}}
services:
  a:
    image: a
    build: .
    env_file: [.env]
    label_file: labels
    healthcheck: {test: [CMD, "true"]}
    container_name: own
    privileged: true
    devices: [/dev/kvm]
    gpus: all
    security_opt: [no-new-privileges]
    pid: host
    ipc: host
    userns_mode: host
    cgroup: host
    cgroup_parent: x
    stop_grace_period: 10s
    configs: [c]
    domainname: x
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := "a container can't ask for this part of its host"
	want := map[string]string{
		"/include": "other files can't be read here", "/configs": "by configContainer or a storage", "/services/a/configs": "by configContainer or a storage",
		"/services/a/build": "build and push it", "/services/a/env_file": "write their content into the file", "/services/a/label_file": "write their content into the file",
		"/services/a/healthcheck": "healthCheckConfig", "/services/a/container_name": "the deployment's prefix and the service", "/services/a/stop_grace_period": "set drain",
		"/services/a/privileged": host, "/services/a/devices": host, "/services/a/gpus": host, "/services/a/security_opt": host, "/services/a/pid": host, "/services/a/ipc": host,
		"/services/a/userns_mode": host, "/services/a/cgroup": host, "/services/a/cgroup_parent": host, "/services/a/domainname": "has no counterpart",
	}
	for _, u := range plan.Unsupported {
		if reason, expected := want[u.Path]; !expected || !strings.Contains(u.Reason, reason) {
			t.Errorf("%s: %s; want %q", u.Path, u.Reason, reason)
		}
		delete(want, u.Path)
	}
	for path := range want {
		t.Errorf("nothing is said of %s", path)
	}
}
