package teamapi

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/shared/spec"
)

// everyKey is a configuration in which every key of the API says something.
func everyKey(t *testing.T) []byte {
	t.Helper()
	document, err := os.ReadFile("testdata/containerconfig.json")
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// accept reads a document the way the API does: against its schema first.
func accept[T any](t *testing.T, document []byte) T {
	t.Helper()
	var loose any
	if err := json.Unmarshal(document, &loose); err != nil {
		t.Fatal(err)
	}
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[T](), false, "")
	var result huma.ValidateResult
	huma.Validate(registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, loose, &result)
	for _, err := range result.Errors {
		t.Errorf("refused: %v", err)
	}
	var read T
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func asMap(t *testing.T, v any) map[string]any {
	t.Helper()
	text, ok := v.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestImageConfigKeepsEveryKey(t *testing.T) {
	document := everyKey(t)
	var conf spec.Container
	accept[imageConfig](t, document).apply(&conf)

	v := reflect.ValueOf(conf)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s: nothing was read", v.Type().Field(i).Name)
		}
	}
	if err := spec.ValidateContainer("config", conf).Err(); err != nil {
		t.Errorf("the example is not valid: %v", err)
	}
	want, got := asMap(t, document), asMap(t, toImageConfig(conf))
	for key := range maps.Keys(got) {
		if !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s:\n got %v\nwant %v", key, got[key], want[key])
		}
	}
}

func TestInstanceConfigKeepsSealedSecrets(t *testing.T) {
	document := []byte(`{"secrets": [{"id": "a", "key": "PASSWORD", "required": true,
		"value": "c2VhbGVk", "encrypted": true, "publicKey": "age1node"}]}`)
	var conf spec.Container
	accept[instanceConfig](t, document).apply(&conf)
	want, got := asMap(t, document)["secrets"], asMap(t, toInstanceConfig(conf))["secrets"]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("secrets:\n got %v\nwant %v", got, want)
	}
}

func TestImageConfigShowsNoSecretValues(t *testing.T) {
	got := asMap(t, toImageConfig(spec.Container{Secrets: []spec.Secret{{ID: "a", Key: "PASSWORD", Value: "c2VhbGVk"}}}))
	want := []any{map[string]any{"id": "a", "key": "PASSWORD", "required": false}}
	if !reflect.DeepEqual(got["secrets"], want) {
		t.Errorf("secrets = %v, want %v", got["secrets"], want)
	}
}

func TestConfigIsAnsweredWithEveryKey(t *testing.T) {
	example := asMap(t, everyKey(t))
	keys := slices.Sorted(maps.Keys(example))

	image := asMap(t, toImageConfig(spec.Container{}))
	if got := slices.Sorted(maps.Keys(image)); !slices.Equal(got, keys) {
		t.Errorf("keys = %v, want %v", got, keys)
	}
	instance := asMap(t, toInstanceConfig(spec.Container{}))
	if got := slices.Sorted(maps.Keys(instance)); !slices.Equal(got, keys) {
		t.Errorf("keys = %v, want %v", got, keys)
	}
	defaults := map[string]any{
		"expose": "none", "restartPolicy": "unlessStopped", "networkMode": "bridge", "deploymentStrategy": "rolling",
		"user": -1.0, "replicas": 1.0, "tty": false, "proxyHeaders": false, "useLoadBalancer": false,
	}
	for key, value := range example {
		unsaid := defaults[key]
		if _, isList := value.([]any); isList {
			unsaid = []any{}
		}
		if !reflect.DeepEqual(image[key], unsaid) {
			t.Errorf("image: %s = %v when nothing was said, want %v", key, image[key], unsaid)
		}
		if instance[key] != nil {
			t.Errorf("instance: %s = %v when nothing was said, want null", key, instance[key])
		}
	}
}

func TestPatchLeavesClearsAndReplaces(t *testing.T) {
	name, tty := "web", true
	stored := func() spec.Container {
		return spec.Container{
			Name: &name, TTY: &tty,
			Environment: []spec.KeyValue{{ID: "1", Key: "A", Value: "a"}, {ID: "2", Key: "B", Value: "b"}},
			Labels: &spec.Markers{
				Deployment: []spec.KeyValue{{ID: "3", Key: "d"}},
				Service:    []spec.KeyValue{{ID: "4", Key: "s"}},
				Ingress:    []spec.KeyValue{{ID: "5", Key: "i"}},
			},
		}
	}
	tests := map[string]struct {
		patch string
		edit  func(want *spec.Container)
	}{
		"nothing said": {`{}`, func(*spec.Container) {}},
		"null clears": {
			`{"tty": null, "environment": null, "labels": null}`,
			func(want *spec.Container) { want.TTY, want.Environment, want.Labels = nil, nil, nil },
		},
		"a list is replaced whole": {
			`{"environment": [{"id": "9", "key": "C", "value": "c"}]}`,
			func(want *spec.Container) { want.Environment = []spec.KeyValue{{ID: "9", Key: "C", Value: "c"}} },
		},
		"an empty list is not an absent one": {
			`{"environment": []}`,
			func(want *spec.Container) { want.Environment = []spec.KeyValue{} },
		},
		"labels are merged list by list": {
			`{"labels": {"service": [{"id": "9", "key": "new"}], "ingress": null}}`,
			func(want *spec.Container) {
				want.Labels.Service, want.Labels.Ingress = []spec.KeyValue{{ID: "9", Key: "new"}}, nil
			},
		},
		"labels begin where there were none": {
			`{"annotations": {"service": [{"id": "9", "key": "new"}]}}`,
			func(want *spec.Container) {
				want.Annotations = &spec.Markers{Service: []spec.KeyValue{{ID: "9", Key: "new"}}}
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, want := stored(), stored()
			test.edit(&want)
			accept[imageConfig](t, []byte(test.patch)).apply(&got)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("after %s:\n got %+v\nwant %+v", test.patch, got, want)
			}
		})
	}
}

func TestPatchDoesNotReachIntoWhatWasStored(t *testing.T) {
	labels := spec.Markers{Service: []spec.KeyValue{{ID: "1", Key: "old"}}}
	edited := spec.Container{Labels: &labels}
	accept[imageConfig](t, []byte(`{"labels": {"service": null}}`)).apply(&edited)
	if labels.Service == nil {
		t.Error("the stored labels were changed along with the edited ones")
	}
}

func TestListEntriesGetAnID(t *testing.T) {
	var conf spec.Container
	accept[imageConfig](t, []byte(`{"secrets": [{"key": "A"}, {"key": "B"}]}`)).apply(&conf)
	if conf.Secrets[0].ID == "" || conf.Secrets[0].ID == conf.Secrets[1].ID {
		t.Errorf("ids = %q, %q, want two different ones", conf.Secrets[0].ID, conf.Secrets[1].ID)
	}
}
