package composefile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/compose"
	"fairlead.dev/controller/internal/composefile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// convert reads a file and says what it becomes.
func convert(t *testing.T, text string, variables map[string]string, profiles ...string) (compose.Plan, error) {
	t.Helper()
	f, err := composefile.Reader{}.Read(t.Context(), text, variables)
	if err != nil {
		return compose.Plan{}, err
	}
	return compose.Convert(f, profiles)
}

// show writes down what of a plan counts, one line for each thing said.
func show(p compose.Plan) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	keys := func(list []spec.Key) string {
		var words []string
		for _, k := range list {
			words = append(words, k.Key)
		}
		return strings.Join(words, "|")
	}
	for _, i := range p.Images {
		c := i.Config
		say("%s image %s", *c.Name, i.Reference)
		for _, kv := range c.Environment {
			say("%s env %s=%s", *c.Name, kv.Key, kv.Value)
		}
		for _, kv := range c.DockerLabels {
			say("%s label %s=%s", *c.Name, kv.Key, kv.Value)
		}
		for _, kv := range c.Capabilities {
			say("%s capability %s %s", *c.Name, kv.Value, kv.Key)
		}
		for _, port := range c.Ports {
			external := "-"
			if port.External != nil {
				external = fmt.Sprint(*port.External)
			}
			say("%s port %s %d:%s/%s", *c.Name, port.Address, port.Internal, external, port.Protocol)
		}
		for _, r := range c.PortRanges {
			say("%s ports %d-%d:%d-%d/%s", *c.Name, r.Internal.From, r.Internal.To, r.External.From, r.External.To, r.Protocol)
		}
		for _, v := range c.Volumes {
			say("%s volume %s %s %s %s", *c.Name, v.Name, v.Path, v.Type, v.Size)
		}
		for _, s := range c.Secrets {
			say("%s secret %s %v", *c.Name, s.Key, s.Required)
		}
		if c.Commands != nil {
			say("%s entrypoint %s", *c.Name, keys(c.Commands))
		}
		if c.Args != nil {
			say("%s command %s", *c.Name, keys(c.Args))
		}
		if c.Networks != nil {
			say("%s networks %s", *c.Name, keys(c.Networks))
		}
		if c.NetworkMode != nil {
			say("%s mode %s", *c.Name, *c.NetworkMode)
		}
		if c.RestartPolicy != nil && *c.RestartPolicy != spec.RestartNo {
			say("%s restart %s", *c.Name, *c.RestartPolicy)
		}
		if c.User != nil {
			say("%s user %d", *c.Name, *c.User)
		}
		if c.TTY != nil {
			say("%s tty %v", *c.Name, *c.TTY)
		}
		if c.WorkingDirectory != nil {
			say("%s dir %s", *c.Name, *c.WorkingDirectory)
		}
		if c.Replicas != nil {
			say("%s replicas %d", *c.Name, *c.Replicas)
		}
		if c.ExpectedState != nil {
			say("%s expected %s %d", *c.Name, c.ExpectedState.State, c.ExpectedState.ExitCode)
		}
		if c.LogConfig != nil {
			say("%s log %s %v", *c.Name, c.LogConfig.Driver, c.LogConfig.Options)
		}
		if r := c.ResourceConfig; r != nil {
			if r.Limits != nil {
				say("%s limits %s %s", *c.Name, r.Limits.CPU, r.Limits.Memory)
			}
			if r.Requests != nil {
				say("%s requests %s %s", *c.Name, r.Requests.CPU, r.Requests.Memory)
			}
		}
	}
	for _, f := range p.Unsupported {
		say("unsupported %s", f.Path)
	}
	for _, f := range p.Notes {
		say("note %s", f.Path)
	}
	return lines
}

// example is a file and what it becomes.
type example struct {
	name, file string
	variables  map[string]string
	profiles   []string
	want       []string
}

func (e example) check(t *testing.T) {
	plan, err := convert(t, e.file, e.variables, e.profiles...)
	if err != nil {
		t.Fatal(err)
	}
	if got := show(plan); !slices.Equal(got, e.want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(e.want, "\n"))
		t.Logf("%+v %+v", plan.Unsupported, plan.Notes)
	}
}

func TestWhatAFileBecomes(t *testing.T) {
	for _, c := range []example{
		{name: "wordpress and mysql", file: `
name: blog
services:
  wordpress:
    image: wordpress:6-apache
    restart: always
    depends_on: [db]
    ports: ["8080:80"]
    environment:
      WORDPRESS_DB_HOST: db
      WORDPRESS_DB_PASSWORD: ${DB_PASSWORD:?is needed}
    volumes: ["wordpress:/var/www/html"]
  db:
    image: mysql:8.0
    restart: always
    environment: ["MYSQL_DATABASE=blog", "MYSQL_RANDOM_ROOT_PASSWORD=1", "MYSQL_PASSWORD=$DB_PASSWORD"]
    volumes: ["db:/var/lib/mysql"]
volumes: {wordpress: , db: {}}
`, variables: map[string]string{"DB_PASSWORD": "a $b"}, want: []string{
			"db image docker.io/library/mysql:8.0", "db env MYSQL_DATABASE=blog", "db env MYSQL_RANDOM_ROOT_PASSWORD=1", "db env MYSQL_PASSWORD=a $b",
			"db volume db /var/lib/mysql rwo ", "db networks blog_default", "db restart always",
			"wordpress image docker.io/library/wordpress:6-apache", "wordpress env WORDPRESS_DB_HOST=db", "wordpress env WORDPRESS_DB_PASSWORD=a $b",
			"wordpress port  80:8080/tcp", "wordpress volume wordpress /var/www/html rwo ", "wordpress networks blog_default", "wordpress restart always",
		}},
		{name: "ports", file: `
services:
  web:
    image: nginx
    network_mode: bridge
    ports:
      - "8000-8002:80-82"
      - "127.0.0.1:5353:53/udp"
      - "443:443"
      - {target: 9000, published: "9100", protocol: udp, mode: host, app_protocol: http}
      - "99"
    expose: ["3000-3001", 443]
`, want: []string{
			"web image docker.io/library/nginx:latest",
			"web port  99:-/tcp", "web port  443:443/tcp", "web port  3000:-/tcp", "web port  3001:-/tcp",
			"web port  9000:9100/udp", "web port 127.0.0.1 53:5353/udp", "web ports 80-82:8000-8002/tcp", "web mode bridge",
			"unsupported /services/web/ports/app_protocol", "unsupported /services/web/ports",
		}},
		{name: "health and order", file: `
name: app
services:
  web: {image: web, depends_on: {api: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}}
  api: {image: api, depends_on: {migrate: {condition: service_completed_successfully}}, healthcheck: {test: [CMD, curl, -f, localhost], interval: 30s}}
  migrate: {image: api, command: migrate up, depends_on: {db: {condition: service_healthy, restart: true}}}
  db: {image: "postgres:16"}
`, want: []string{
			"db image docker.io/library/postgres:16", "db networks app_default",
			"migrate image docker.io/library/api:latest", "migrate command migrate|up", "migrate networks app_default", "migrate expected exited 0",
			"api image docker.io/library/api:latest", "api networks app_default",
			"web image docker.io/library/web:latest", "web networks app_default",
			"unsupported /services/api/healthcheck", "unsupported /services/migrate/depends_on/db/restart",
		}},
		{name: "volumes", file: `
name: v
services:
  a:
    image: a
    volumes:
      - data:/data
      - /srv/files:/files:ro
      - ./conf:/conf
      - /anonymous
      - {type: tmpfs, target: /cache, tmpfs: {size: 64m, mode: 0700}}
      - {type: volume, source: sub, target: /sub, volume: {subpath: x}}
    tmpfs: ["/run:size=1g,noexec", /tmp]
  b: {image: b, volumes: ["data:/data"]}
volumes:
  data: {driver: nfs}
  sub: {external: true}
`, want: []string{
			"a image docker.io/library/a:latest", "a volume data /data rwo ", "a volume /srv/files /files ro ", "a volume anonymous /anonymous rwo ",
			"a volume cache /cache mem 64Mi", "a volume sub /sub rwo ", "a volume run /run mem 1Gi", "a volume tmp /tmp mem ", "a networks v_default",
			"b image docker.io/library/b:latest", "b volume data /data rwo ", "b networks v_default",
			"unsupported /volumes/data/driver", "unsupported /volumes/sub/external", "unsupported /services/a/volumes/2",
			"unsupported /services/a/volumes/4/tmpfs/mode", "unsupported /services/a/volumes/5/volume/subpath", "unsupported /services/a/tmpfs/0",
			"unsupported /services/b/volumes/0",
			"note /services/a/volumes/1", "note /services/a/volumes/3",
		}},
		{name: "networks", file: `
name: n
services:
  a: {image: a, networks: [front, back]}
  b: {image: b, networks: {back: {aliases: [b, other], ipv4_address: 10.0.0.2}}}
  c: {image: c, network_mode: host}
  d: {image: d, network_mode: "service:a"}
networks:
  front: {driver: bridge}
  back: {name: shared, external: true}
  default: {internal: true}
`, want: []string{
			"a image docker.io/library/a:latest", "a networks shared|n_front", "b image docker.io/library/b:latest", "b networks shared",
			"c image docker.io/library/c:latest", "c mode host", "d image docker.io/library/d:latest", "d networks n_default",
			"unsupported /networks/default/internal", "unsupported /services/b/networks/back/aliases/1",
			"unsupported /services/b/networks/back/ipv4_address", "unsupported /services/d/network_mode", "note /services/c/network_mode",
		}},
		{name: "resources and replicas", file: `
services:
  a:
    image: a
    network_mode: none
    deploy:
      replicas: 3
      mode: replicated
      resources: {limits: {cpus: "0.5", memory: 512M, pids: 10}, reservations: {cpus: "0.25", memory: 20m, devices: [{capabilities: [gpu]}]}}
      restart_policy: {condition: any}
    volumes: ["xx:/x"]
  b: {image: b, network_mode: none, cpus: 1.5, mem_limit: 1000, mem_reservation: 1kb, scale: 2, memswap_limit: 1g}
`, want: []string{
			"a image docker.io/library/a:latest", "a volume xx /x rwx ", "a mode none", "a replicas 3", "a limits 500m 512Mi", "a requests 250m 20Mi",
			"b image docker.io/library/b:latest", "b mode none", "b replicas 2", "b limits 1500m 1000", "b requests  1Ki",
			"unsupported /services/a/deploy/resources/limits/pids", "unsupported /services/a/deploy/resources/reservations/devices",
			"unsupported /services/a/deploy/restart_policy", "unsupported /services/b/memswap_limit",
		}},
		{name: "process", file: `
services:
  a:
    image: a
    network_mode: none
    user: "1000"
    tty: true
    working_dir: /app
    entrypoint: ["/bin/sh", "-c"]
    command: echo "two words" $$HOME
    cap_add: [NET_ADMIN, SYS_TIME]
    cap_drop: [ALL, SYS_TIME]
    restart: on-failure:3
    labels: {com.example.a: "1"}
    logging: {driver: syslog, options: {tag: x}}
  b: {image: b, network_mode: none, user: "1:2", restart: unless-stopped, labels: [only, a=b], command: [], tty: false}
  c: {image: c, network_mode: none, user: www, logging: {driver: loki}}
`, want: []string{
			"a image docker.io/library/a:latest", "a label com.example.a=1", "a capability add NET_ADMIN", "a capability add SYS_TIME", "a capability drop ALL",
			"a entrypoint /bin/sh|-c", "a command echo|two words|$HOME", "a mode none", "a restart onFailure", "a user 1000", "a tty true", "a dir /app",
			"a log syslog [{1 tag x}]",
			"b image docker.io/library/b:latest", "b label only=", "b label a=b", "b mode none", "b restart unlessStopped", "b user 1", "b tty false",
			"c image docker.io/library/c:latest", "c mode none",
			"unsupported /services/a/restart", "unsupported /services/a/cap_drop/1", "unsupported /services/b/command", "unsupported /services/b/user",
			"unsupported /services/c/user", "unsupported /services/c/logging/driver",
		}},
		{name: "extensions and anchors", file: `
version: "3.8"
x-common: &common
  restart: always
  environment: &env {LOG: info}
services:
  a: {<<: *common, image: a, network_mode: none, x-own: {any: thing}}
  b: {<<: *common, image: b, network_mode: none, environment: {<<: *env, MORE: "1"}}
`, want: []string{
			"a image docker.io/library/a:latest", "a env LOG=info", "a mode none", "a restart always",
			"b image docker.io/library/b:latest", "b env LOG=info", "b env MORE=1", "b mode none", "b restart always",
			"note /version", "note /x-common", "note /services/a/x-own",
		}},
		{name: "profiles", file: `
services:
  a: {image: a, network_mode: none, depends_on: {tool: {condition: service_started, required: false}}}
  tool: {image: tool, network_mode: none, profiles: [debug]}
  never: {image: never, network_mode: none, profiles: [other]}
`, profiles: []string{"debug"}, want: []string{
			"tool image docker.io/library/tool:latest", "tool mode none", "a image docker.io/library/a:latest", "a mode none",
			"note /services/never",
		}},
		{name: "secrets", file: `
services:
  a:
    image: a
    network_mode: none
    secrets: [db_password, {source: key, target: tls.key, mode: 0400}, {source: key, target: /etc/key}]
    configs: [c]
secrets: {db_password: {file: ./db.txt}, key: {environment: KEY}}
configs: {c: {file: ./c.conf}}
`, want: []string{
			"a image docker.io/library/a:latest", "a secret /run/secrets/db_password true", "a secret /run/secrets/tls.key true", "a mode none",
			"unsupported /secrets/db_password/file", "unsupported /secrets/key/environment", "unsupported /configs",
			"unsupported /services/a/secrets/1/mode", "unsupported /services/a/secrets/2/target", "unsupported /services/a/configs",
		}},
		{name: "other files", file: `
include: [other.yaml]
services:
  a: {image: a, network_mode: none, env_file: [.env], label_file: labels, extends: {file: base.yaml, service: base}}
  b: {build: ./b, network_mode: none}
  c: {image: c, build: {context: .}, extends: a, network_mode: none, develop: {watch: [{path: ., action: sync, target: /x}]}}
`, want: []string{
			"a image docker.io/library/a:latest", "a mode none", "c image docker.io/library/c:latest", "c mode none",
			"unsupported /services/a/extends/file", "unsupported /include", "unsupported /services/a/env_file", "unsupported /services/a/label_file",
			"unsupported /services/b/build", "unsupported /services/b",
			"unsupported /services/c/build", "unsupported /services/c/develop", "unsupported /services/c/env_file", "unsupported /services/c/label_file",
		}},
		{name: "the host, names and variables", file: `
services:
  my_web:
    image: registry.example.com:5000/group/web@sha256:2d3e0a5f4bfa1b1d7a2ec3d0a39b1e4cbb1f8b3a5b9e6d0c7f8a9b0c1d2e3f40
    network_mode: none
    container_name: web
    privileged: true
    devices: [/dev/kvm]
    pid: host
    links: ["b:alias"]
    environment: [GIVEN, NOT_GIVEN, "EMPTY=${UNSET}", "DEFAULT=${UNSET_TOO:-x$$y$NESTED}-$NESTED"]
  b: {image: b, network_mode: none}
`, variables: map[string]string{"GIVEN": "yes"}, want: []string{
			"b image docker.io/library/b:latest", "b mode none",
			"my-web image registry.example.com:5000/group/web@sha256:2d3e0a5f4bfa1b1d7a2ec3d0a39b1e4cbb1f8b3a5b9e6d0c7f8a9b0c1d2e3f40",
			"my-web env GIVEN=yes", "my-web env EMPTY=", "my-web env DEFAULT=x$y-", "my-web mode none",
			"unsupported /services/my_web", "unsupported /services/my_web/links/0", "unsupported /services/my_web/container_name",
			"unsupported /services/my_web/devices", "unsupported /services/my_web/pid", "unsupported /services/my_web/privileged",
			"note ", "note ", "note /services/my_web/environment/NOT_GIVEN",
		}},
	} {
		t.Run(c.name, c.check)
	}
}

func TestAFileThatCanBecomeNothing(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	services := func(more string) string { return "services: {a: {image: a, " + more + "}}" }
	for name, c := range map[string]struct{ file, says string }{
		"nothing":            {"", "YAML"},
		"no mapping":         {"[a]", ""},
		"no YAML":            {"services: [", "YAML"},
		"no services":        {"name: x", "no service"},
		"an unknown key":     {services("imagee: b"), "imagee"},
		"two documents":      {"name: a\n---\nname: b", "one document"},
		"a tag":              {services("ports: !reset []"), "!reset"},
		"only a build":       {"services: {a: {build: .}}", "no service"},
		"a circle":           {"services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: [a]}}", "itself"},
		"extends a circle":   {"services: {a: {extends: b}, b: {extends: a}}", "Circular"},
		"unknown dependency": {services("depends_on: [b]"), "not in the file"},
		"a missing variable": {services("user: '${WHO:?tell me}'"), "tell me"},
		"the environment":    {services("user: '${PATH:?tell me}'"), "tell me"},
		"no image's name":    {"services: {a: {image: 'A b'}}", "/services/a/image"},
		"names that clash":   {"services: {a_b: {image: a}, a-b: {image: b}}", "both be called"},
		"a command":          {services("command: 'a \"b'"), "command"},
		"aliases":            {bomb + "services: {a: {image: a}}", "more than 20000 keys"},
		"an alias in itself": {"services: &s {a: *s}", ""},
		"depth":              {services("x-a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200)), "levels deep"},
		"length":             {"#" + strings.Repeat("x", composefile.MaxText), "KiB"},
		"ports":              {services("ports: ['1-65535:1-65535']"), "more than 5000 ports"},
		"many services":      {"services: {" + manyServices(101) + "}", "at most 100"},
		"growing variables":  {services("x-a: ['" + strings.Repeat("$V', '", 5000) + "']"), "KiB"},
		"nested variables":   {services("x-a: '" + strings.Repeat("${A:-", 2000) + strings.Repeat("}", 2000) + "'"), "variables"},
		"extends multiplied": {"services: {big: {image: a, x-a: [" + strings.Repeat("1, ", 3000) + "1]}, " + extending(25) + "}", "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := convert(t, c.file, map[string]string{"V": strings.Repeat("v", 1000)})
			if !apperr.Is(err, apperr.Invalid) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 2000 {
				t.Errorf("got %v, want an Invalid error with %q", err, c.says)
			}
		})
	}
}

func manyServices(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "s%d: {image: a}, ", i)
	}
	return list.String()
}

func extending(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "s%d: {extends: big}, ", i)
	}
	return list.String()
}

// FuzzRead holds the reader to its limits: whatever it is given, it ends, and
// what it takes is a plan whose images are valid.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"services: {a: {image: a}}", "services: {a: {image: '${X:-${Y}}', ports: ['1-3:4-6/udp']}}",
		"x: &x {restart: always}\nservices: {a: {<<: *x, image: a, volumes: ['a:/b', '/c:/d:ro'], depends_on: [b]}, b: {extends: a}}",
		"services: {a: {image: a, networks: {n: {aliases: [a]}}, deploy: {resources: {limits: {cpus: '1e9'}}}}}\nnetworks: {n: {external: {name: x}}}",
		"services: {a: {image: a, secrets: [s], tmpfs: '/a:size=1k', user: 1, command: 'a b', scale: 2}}\nsecrets: {s: {file: x}}",
		"services: {a: {image: a, environment: [A], labels: {1: 2}}}", "services: {a: &a [*a]}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := convert(t, text, map[string]string{"X": "1"})
		if err != nil {
			if !apperr.Is(err, apperr.Invalid) {
				t.Fatalf("%v is no Invalid error", err)
			}
			return
		}
		for _, i := range plan.Images {
			if err := spec.ValidateContainer("config", i.Config).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
