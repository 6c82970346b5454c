package docker

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/shared/spec"
)

// Every field of a container's configuration has an effect or is refused.
// Those that have neither are listed here with the reason.
var withoutEffect = map[string]string{
	"DeploymentStrategy": "the driver always brings the new up beside the old where it can, and recreates where it cannot",
}

// A field is proven by giving it a value: that must change what is built, or
// be refused.
func TestNoFieldIsSilentlyIgnored(t *testing.T) {
	kind := reflect.TypeFor[spec.Container]()
	for i := range kind.NumField() {
		field := kind.Field(i)
		t.Run(field.Name, func(t *testing.T) {
			if _, listed := withoutEffect[field.Name]; listed {
				return
			}
			plain := spec.Container{Name: pointer("web"), Volumes: []spec.Volume{{Name: "v", Path: "/v", Type: spec.VolumeReadWriteOnce}}}
			said := plain
			reflect.ValueOf(&said).Elem().Field(i).Set(example(t, field))
			if outcome(plain) == outcome(said) {
				t.Errorf("%s has no effect and is not refused", field.Name)
			}
		})
	}
}

func outcome(c spec.Container) string {
	w := spec.Workload{Image: spec.Image{Reference: "registry.test/web:1"}, Container: c}
	dep := spec.Deployment{Prefix: "p", Workloads: []spec.Workload{w}}
	text := ""
	if err := New(nil, Options{}).Check(dep); err != nil {
		text = err.Error()
	}
	text += dump(notes(c))
	text += fmt.Sprint(gateOf(c, false))
	for _, s := range slotsOf(dep, w) {
		text += s.base
	}
	b, _ := build(dep, w, "image")
	text += dump(b.config) + dump(b.host) + dump(b.networks) + dump(b.volumes)
	for _, kind := range w.HookKinds() {
		b, _ := buildHook(dep, w, kind, "image")
		text += dump(b.config) + dump(b.host)
	}
	for _, ic := range c.InitContainers {
		b, _ := buildInit(dep, w, ic, ic.Image)
		text += dump(b.config) + dump(b.host)
	}
	return text
}

// dump writes a value out with everything it points to.
func dump(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// example gives a field a value that differs from saying nothing.
func example(t *testing.T, field reflect.StructField) reflect.Value {
	t.Helper()
	examples := map[string]any{
		"Capabilities":    []spec.KeyValue{{Key: "KILL", Value: "drop"}},
		"ConfigContainer": &spec.ConfigContainer{Image: "i:1", Volume: "v"},
		"ExpectedState":   &spec.ExpectedState{State: spec.StateExited},
		"Expose":          pointer(spec.ExposePlain),
		"InitContainers":  []spec.InitContainer{{Name: "i", Image: "i:1"}},
		"Labels":          &spec.Markers{Deployment: []spec.KeyValue{{Key: "k", Value: "v"}}},
		"Annotations":     &spec.Markers{Deployment: []spec.KeyValue{{Key: "k", Value: "v"}}},
		"LogConfig":       &spec.LogConfig{Driver: "local"},
		"Metrics":         &spec.Metrics{Enabled: true},
		"NetworkMode":     pointer(spec.NetworkHost),
		"Ports":           []spec.Port{{Internal: 80, Protocol: "tcp"}},
		"PortRanges":      []spec.PortRange{{Internal: spec.Range{From: 1, To: 2}, External: spec.Range{From: 1, To: 2}, Protocol: "tcp"}},
		"ResourceConfig":  &spec.ResourceConfig{Limits: &spec.Resources{CPU: "1"}},
		"RestartPolicy":   pointer(spec.RestartAlways),
		"Storage":         &spec.Storage{StorageID: "s", Path: "v"},
		"Volumes":         []spec.Volume{{Name: "other", Path: "/o", Type: spec.VolumeReadWriteOnce}},
	}
	if value, ok := examples[field.Name]; ok {
		return reflect.ValueOf(value)
	}
	return filled(t, field.Type)
}

// filled makes a value in which nothing is zero.
func filled(t *testing.T, kind reflect.Type) reflect.Value {
	t.Helper()
	v := reflect.New(kind).Elem()
	switch kind.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(kind.Elem()))
		v.Elem().Set(filled(t, kind.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, filled(t, kind.Elem())))
	case reflect.Struct:
		for i := range kind.NumField() {
			v.Field(i).Set(filled(t, kind.Field(i).Type))
		}
	case reflect.String:
		v.SetString("said")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	default:
		t.Fatalf("teach this test about %s", kind)
	}
	return v
}

// Within the parts of a configuration every leaf counts too: leaving one out
// of a full configuration changes the outcome.
func TestNoPartOfAFieldIsSilentlyIgnored(t *testing.T) {
	ignored := map[string]string{
		"ID":                              "the client's own mark of an entry",
		"Hooks.PreDeploy.TimeoutSeconds":  "read by runHook",
		"Hooks.PostDeploy.TimeoutSeconds": "read by runHook",
		// How long to wait and for what is read when the container is started.
		"ExpectedState.TimeoutSeconds": "read by awaitState",
		"ExpectedState.ExitCode":       "read by judge",
		"PortRanges.External.To":       "a valid range is as long as the internal one",
		"Capabilities.Value":           "add is what nothing means",
		"Volumes.Type":                 "never empty once normalized; the golden test has each type",
		"Volumes.Name":                 "memory and temporary volumes have no name on the engine",
	}
	// Refused as a whole, whatever is in them; see TestCheckNamesWhatItRefuses.
	refused := []string{
		"Routing", "Secrets", "ConfigContainer", "Storage", "CustomHeaders",
	}
	_, w := full()
	w.Container.Secrets = nil // one of them stands before a variable
	w.Container.InitContainers = []spec.InitContainer{{
		Name: "i", Image: "i:1", Command: []spec.Key{{Key: "c"}}, Args: []spec.Key{{Key: "a"}}, UseParentConfig: true,
		Environment: []spec.KeyValue{{Key: "K", Value: "v"}}, Volumes: []spec.VolumeLink{{Name: "data", Path: "/in"}},
	}}
	before := outcome(w.Container)
	c := reflect.ValueOf(&w.Container).Elem()
	for i := range c.NumField() {
		name := c.Type().Field(i).Name
		if !slices.Contains(refused, name) && withoutEffect[name] == "" {
			eachLeaf(name, c.Field(i), func(path string, leaf reflect.Value) {
				last := path[strings.LastIndex(path, ".")+1:]
				if leaf.IsZero() || ignored[path] != "" || ignored[last] != "" {
					return
				}
				kept := reflect.ValueOf(leaf.Interface())
				leaf.SetZero()
				if outcome(w.Container) == before {
					t.Errorf("%s has no effect and is not refused", path)
				}
				leaf.Set(kept)
			})
		}
	}
}

// eachLeaf visits every plain value below v that can be changed.
func eachLeaf(path string, v reflect.Value, visit func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachLeaf(path, v.Elem(), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachLeaf(path, v.Index(i), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachLeaf(path+"."+v.Type().Field(i).Name, v.Field(i), visit)
		}
	default:
		visit(path, v)
	}
}
