package kube

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

var update = flag.Bool("update", false, "rewrite the golden manifests")

// configured is a deployment of one workload.
func configured(change func(*spec.Container)) spec.Deployment {
	c := spec.Container{Name: new("web")}
	change(&c)
	d := spec.Normalize(spec.Deployment{ID: "deployment", Prefix: "shop", Release: 7, Workloads: []spec.Workload{{
		InstanceID: "instance", Image: spec.Image{Reference: "registry.test/web:1"}, Container: c,
	}}})
	d.Workloads[0].Hash = "hash"
	return d
}

// configurations are by the name of their golden file.
func configurations() map[string]func(*spec.Container) {
	return map[string]func(*spec.Container){
		"ingress": func(c *spec.Container) {
			c.Expose = new(spec.ExposeWithTLS)
			c.Routing = &spec.Routing{Domain: "shop.example.com", Path: "/api.v1/", StripPath: true, UploadLimit: "1.5 MiB", Port: 8080}
			c.Ports = []spec.Port{{Internal: 9000}, {Internal: 8080}}
			c.CustomHeaders, c.ProxyHeaders = []spec.Key{{Key: "X-Shop"}}, new(true)
			c.Annotations = &spec.Markers{Ingress: []spec.KeyValue{{Key: ingressClass, Value: "public-nginx"}, {Key: "team", Value: "shop"}}}
			c.Labels = &spec.Markers{Ingress: []spec.KeyValue{{Key: "tier", Value: "edge"}}}
		},
		"balancer": func(c *spec.Container) {
			c.UseLoadBalancer = new(true)
			c.Ports = []spec.Port{{Internal: 80, External: new(int32(8080))}, {Internal: 53, Protocol: "udp"}}
			c.PortRanges = []spec.PortRange{{Internal: spec.Range{From: 7000, To: 7001}, External: spec.Range{From: 30000, To: 30001}, Protocol: "udp"}}
			c.ExtraLBAnnotations = []spec.KeyValue{{Key: "cloud.example.com/scheme", Value: "internal"}}
			c.Labels = &spec.Markers{Service: []spec.KeyValue{{Key: "tier", Value: "edge"}}}
			c.Annotations = &spec.Markers{Service: []spec.KeyValue{{Key: "team", Value: "shop"}}}
		},
		"volumes": func(c *spec.Container) {
			c.User = new(int64(1000))
			c.Volumes = []spec.Volume{
				{Name: "data", Path: "/data", Size: "2Gi", Class: "fast"}, {Name: "site", Path: "/site", Type: spec.VolumeReadOnly},
				{Name: "shared", Path: "/shared", Type: spec.VolumeReadWriteMany}, {Name: "read", Path: "/read", Type: spec.VolumeReadOnly},
				{Name: "memory", Path: "/memory", Type: spec.VolumeMemory, Size: "64Mi"}, {Name: "scratch", Path: "/scratch", Type: spec.VolumeTemporary},
			}
			c.ConfigContainer = &spec.ConfigContainer{Image: "registry.test/config:1", Volume: "data", Path: "/etc/web/"}
			c.Storage = &spec.Storage{
				StorageID: "storage", Path: "site", Bucket: "assets/site", URL: "https://s3.test",
				Keys: &spec.StorageKeys{Access: "robot", Secret: "hunter2"},
			}
			c.InitContainers = []spec.InitContainer{{
				Name: "migrate", Image: "registry.test/migrate:1", Command: []spec.Key{{Key: "/migrate"}}, Args: []spec.Key{{Key: "up"}},
				UseParentConfig: true, Environment: []spec.KeyValue{{Key: "STEP", Value: "1"}}, Volumes: []spec.VolumeLink{{Name: "data", Path: "/db"}},
			}}
			c.Secrets = []spec.Secret{{Key: "TOKEN", Value: "hush"}, {Key: "/run/secrets/password", Value: "hush"}}
		},
		"container": func(c *spec.Container) {
			c.Environment = []spec.KeyValue{{Key: "GREETING", Value: "hello"}}
			c.TTY, c.WorkingDirectory, c.Replicas = new(true), new("/srv"), new(int32(3))
			c.Commands, c.Args = []spec.Key{{Key: "/web"}}, []spec.Key{{Key: "--quiet"}}
			c.Ports = []spec.Port{{Internal: 8080}, {Internal: 8080}}
			c.Capabilities = []spec.KeyValue{{Key: "cap_net_admin", Value: "add"}, {Key: "ALL", Value: "Drop"}}
			c.ResourceConfig = &spec.ResourceConfig{
				Limits: &spec.Resources{CPU: "1", Memory: "256Mi"}, Requests: &spec.Resources{CPU: "100m", Memory: "64Mi"},
			}
			c.HealthCheckConfig = &spec.HealthCheckConfig{Port: 8080, LivenessProbe: "/live", ReadinessProbe: "/ready", StartupProbe: "/up"}
			c.Metrics = &spec.Metrics{Enabled: true}
			c.Labels = &spec.Markers{Deployment: []spec.KeyValue{{Key: "tier", Value: "front"}}}
			c.Annotations = &spec.Markers{Deployment: []spec.KeyValue{{Key: "team", Value: "shop"}, {Key: "prometheus.io/path", Value: "/own"}}}
		},
	}
}

// TestGoldenManifests holds the objects of a configuration to files that show
// them.
func TestGoldenManifests(t *testing.T) {
	d := &Driver{options: Options{Image: "fairlead/crane:1.2.3", StopGrace: 10 * time.Second}}
	for name, change := range configurations() {
		t.Run(name, func(t *testing.T) {
			dep := configured(change)
			if err := d.Check(dep); err != nil {
				t.Fatal(err)
			}
			dep.Workloads[0].Image.Auth = &spec.RegistryAuth{Server: "registry.test", Username: "u", Password: "p"}
			made, err := d.build(dep, dep.Workloads[0])
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			for _, object := range made.all() {
				u, err := manifest(object)
				if err != nil {
					t.Fatal(err)
				}
				part, err := yaml.Marshal(u.Object)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n")
				text.Write(part)
			}
			file := filepath.Join("testdata", "golden", name+".yaml")
			if *update {
				if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(text.Bytes(), want) {
				t.Errorf("the objects differ from %s; if that is right, run with -update\n%s", file, text.Bytes())
			}
		})
	}
}

// What no object can say is refused by its name, before anything is touched.
func TestRefusals(t *testing.T) {
	exposed := func(r spec.Routing, more func(*spec.Container)) func(*spec.Container) {
		return func(c *spec.Container) {
			c.Expose, c.Routing, c.Ports = new(spec.ExposePlain), &r, []spec.Port{{Internal: 80}}
			if more != nil {
				more(c)
			}
		}
	}
	shared := []spec.Volume{{Name: "data", Path: "/data", Type: spec.VolumeReadOnly}}
	for _, test := range []struct {
		key    string
		kind   apperr.Kind
		change func(*spec.Container)
	}{
		{"networkMode", apperr.Unsupported, func(c *spec.Container) { c.NetworkMode = new(spec.NetworkHost) }},
		{"networks", apperr.Unsupported, func(c *spec.Container) { c.Networks = []spec.Key{{Key: "back"}} }},
		{"logConfig", apperr.Unsupported, func(c *spec.Container) { c.LogConfig = &spec.LogConfig{Driver: "syslog"} }},
		{"dockerLabels", apperr.Unsupported, func(c *spec.Container) { c.DockerLabels = []spec.KeyValue{{Key: "a", Value: "b"}} }},
		{"ports[0].address", apperr.Unsupported, func(c *spec.Container) { c.Ports = []spec.Port{{Internal: 80, Address: "10.0.0.1"}} }},
		{"ports[1]", apperr.Invalid, func(c *spec.Container) {
			c.UseLoadBalancer = new(true)
			c.Ports = []spec.Port{{Internal: 80, External: new(int32(8080))}, {Internal: 8080}}
		}},
		{"portRanges", apperr.Unsupported, func(c *spec.Container) {
			c.PortRanges = []spec.PortRange{
				{Internal: spec.Range{From: 1000, To: 1999}, External: spec.Range{From: 1000, To: 1999}},
				{Internal: spec.Range{From: 3000, To: 3000}, External: spec.Range{From: 3000, To: 3000}},
			}
		}},
		{"useLoadBalancer", apperr.Invalid, func(c *spec.Container) { c.UseLoadBalancer = new(true) }},
		{"environment[0].key", apperr.Unsupported, func(c *spec.Container) { c.Environment = []spec.KeyValue{{Key: "A$B", Value: "c"}} }},
		{"secrets[0].key", apperr.Unsupported, func(c *spec.Container) { c.Secrets = []spec.Secret{{Key: "A/B", Value: "c"}} }},
		{"secrets[0].value", apperr.Invalid, func(c *spec.Container) { c.Secrets = []spec.Secret{{Key: "A", Required: true}} }},
		{"routing.domain", apperr.Invalid, exposed(spec.Routing{}, nil)},
		{"ports", apperr.Invalid, exposed(spec.Routing{Domain: "a.test"}, func(c *spec.Container) { c.Ports = nil })},
		{"routing.port", apperr.Invalid, exposed(spec.Routing{Domain: "a.test", Port: 81}, nil)},
		{"routing.port", apperr.Invalid, exposed(spec.Routing{Domain: "a.test"}, func(c *spec.Container) { c.Ports[0].Protocol = "udp" })},
		{"routing.stripPath", apperr.Unsupported, exposed(spec.Routing{Domain: "a.test", Path: "/a", StripPath: true}, func(c *spec.Container) {
			c.Annotations = &spec.Markers{Ingress: []spec.KeyValue{{Key: ingressClass, Value: "traefik"}}}
		})},
		{"expose", apperr.Unsupported, exposed(spec.Routing{Domain: "a.test"}, func(c *spec.Container) { c.RestartPolicy = new(spec.RestartNo) })},
		{"volumes[0].name", apperr.Unsupported, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "/srv", Path: "/data"}} }},
		{"volumes[0].name", apperr.Invalid, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "My_Data", Path: "/data"}} }},
		{"volumes[0].name", apperr.Invalid, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "fairlead-secrets", Path: "/data"}} }},
		{"volumes[0].size", apperr.Invalid, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data", Size: "1kb"}} }},
		{"volumes[0].type", apperr.Invalid, func(c *spec.Container) {
			c.Volumes, c.Replicas = []spec.Volume{{Name: "data", Path: "/data"}}, new(int32(2))
		}},
		{"volumes[0].type", apperr.Invalid, func(c *spec.Container) {
			c.Volumes, c.Replicas = shared, new(int32(2))
			c.ConfigContainer = &spec.ConfigContainer{Image: "config", Volume: "data", Path: "/conf"}
		}},
		{"configContainer.volume", apperr.Invalid, func(c *spec.Container) {
			c.ConfigContainer = &spec.ConfigContainer{Image: "config", Volume: "data", Path: "/conf"}
		}},
		{"configContainer.path", apperr.Invalid, func(c *spec.Container) {
			c.Volumes, c.ConfigContainer = shared, &spec.ConfigContainer{Image: "config", Volume: "data", Path: "/"}
		}},
		{"storage.path", apperr.Invalid, func(c *spec.Container) {
			c.Storage = &spec.Storage{StorageID: "s", Path: "data", Bucket: "assets"}
		}},
		{"storage.bucket", apperr.Invalid, func(c *spec.Container) {
			c.Volumes, c.Storage = shared, &spec.Storage{StorageID: "s", Path: "data"}
		}},
		{"initContainers[0].name", apperr.Invalid, func(c *spec.Container) {
			c.InitContainers = []spec.InitContainer{{Name: "fairlead-config", Image: "a"}}
		}},
		{"initContainers[0].volumes[0].name", apperr.Invalid, func(c *spec.Container) {
			c.InitContainers = []spec.InitContainer{{Name: "a", Image: "a", Volumes: []spec.VolumeLink{{Name: "data", Path: "/a"}}}}
		}},
		{"capabilities", apperr.Invalid, func(c *spec.Container) {
			c.Capabilities = []spec.KeyValue{{Key: "NET_ADMIN"}, {Key: "CAP_NET_ADMIN", Value: "drop"}}
		}},
		{"labels.deployment[0].key", apperr.Invalid, func(c *spec.Container) {
			c.Labels = &spec.Markers{Deployment: []spec.KeyValue{{Key: labelWorkload, Value: "other"}}}
		}},
		{"labels.service[0].value", apperr.Invalid, func(c *spec.Container) {
			c.Labels = &spec.Markers{Service: []spec.KeyValue{{Key: "a", Value: "not a label"}}}
		}},
		{"annotations.ingress[0].key", apperr.Invalid, func(c *spec.Container) {
			c.Annotations = &spec.Markers{Ingress: []spec.KeyValue{{Key: "a/b/c", Value: "d"}}}
		}},
		{"extraLBAnnotations[0].key", apperr.Invalid, func(c *spec.Container) {
			c.ExtraLBAnnotations = []spec.KeyValue{{Key: noteSpecHash, Value: "x"}}
		}},
		{"metrics.port", apperr.Invalid, func(c *spec.Container) { c.Metrics = &spec.Metrics{Enabled: true} }},
		{"resourceConfig.limits.cpu", apperr.Invalid, func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{CPU: "2gb"}}
		}},
	} {
		err := (&Driver{options: Options{Image: "crane"}}).Check(configured(test.change))
		if !apperr.Is(err, test.kind) || !strings.Contains(err.Error(), ": "+test.key) {
			t.Errorf("Check: %v, want %s refused as %v", err, test.key, test.kind)
		}
	}
	// An agent that does not know its image cannot fill volumes.
	err := (&Driver{}).Check(configured(configurations()["volumes"]))
	if !apperr.Is(err, apperr.Unsupported) || !strings.Contains(err.Error(), "storage") || !strings.Contains(err.Error(), "configContainer") {
		t.Errorf("Check without an image: %v", err)
	}
}

// What is done otherwise than asked is told in the plan.
func TestNotes(t *testing.T) {
	for want, change := range map[string]func(*spec.Container){
		"customHeaders, routing.stripPath: ": func(c *spec.Container) {
			c.Expose, c.Routing = new(spec.ExposePlain), &spec.Routing{Domain: "a.test", StripPath: true}
			c.CustomHeaders = []spec.Key{{Key: "X-Shop"}}
		},
		"extraLBAnnotations has no effect":  func(c *spec.Container) { c.ExtraLBAnnotations = []spec.KeyValue{{Key: "a", Value: "b"}} },
		"ports[0].external has no effect":   func(c *spec.Container) { c.Ports = []spec.Port{{Internal: 1, External: new(int32(2))}} },
		"portRanges.external has no effect": func(c *spec.Container) { c.PortRanges = []spec.PortRange{{}} },
	} {
		dep := configured(change)
		plan, err := world{}.plan(dep)
		if err != nil || plan.Workloads[0].Action != workload.ActionCreate || !strings.Contains(strings.Join(plan.Workloads[0].Notes, "\n"), want) {
			t.Errorf("the plan says %q, %v, want %q", plan.Workloads[0].Notes, err, want)
		}
	}
}
