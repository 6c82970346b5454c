package teamapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/rest/teamapi"
	"fairlead.dev/shared/workload/workloadtest"
)

// anyValue marks the keys that no value of their type is wrong for, with why.
type anyValue string

const aSwitch = anyValue("a boolean is one or the other")

// sealed marks the keys that only an instance's secrets have.
var sealed = []string{"secrets.value", "secrets.encrypted", "secrets.publicKey"}

// wrongValues has a value of the right type that each key refuses.
func wrongValues() map[string]any {
	const nul = "a\x00b"
	wrong := map[string]any{
		"name": "Upper_Case", "expose": "maybe", "user": -2, "tty": aSwitch, "workingDirectory": "../etc", "replicas": -1,
		"environment.key": "A=B", "environment.value": nul,
		"secrets.key": "/etc/passwd", "secrets.required": aSwitch,
		"secrets.value": "not ciphertext", "secrets.encrypted": aSwitch, "secrets.publicKey": "age1other",
		"routing.domain": "shop.example.com:443", "routing.path": "/a b", "routing.stripPath": aSwitch,
		"routing.uploadLimit": "lots", "routing.port": 65536,
		"configContainer.image": "not an image", "configContainer.volume": "nowhere", "configContainer.path": "files", "configContainer.keepFiles": aSwitch,
		"ports.internal": 0, "ports.external": 65536, "ports.protocol": "icmp", "ports.address": "localhost",
		"portRanges.internal.from": 0, "portRanges.internal.to": 65536, "portRanges.external.from": 0, "portRanges.external.to": 65536,
		"portRanges.protocol": "icmp",
		"volumes.name":        "../x", "volumes.path": "data", "volumes.size": "big", "volumes.type": "wide", "volumes.class": "no class",
		"commands.key": nul, "args.key": nul,
		"initContainers.name": "Not A Label", "initContainers.image": "example.com/UPPER", "initContainers.command.key": nul, "initContainers.args.key": nul,
		"initContainers.environment.key": "A B", "initContainers.environment.value": nul, "initContainers.useParentConfig": aSwitch,
		"initContainers.volumes.name": "nowhere", "initContainers.volumes.path": "relative",
		"hooks.preDeploy.command.key": nul, "hooks.preDeploy.args.key": nul, "hooks.preDeploy.timeoutSeconds": -1,
		"hooks.postDeploy.command.key": nul, "hooks.postDeploy.args.key": nul, "hooks.postDeploy.timeoutSeconds": 86401,
		"capabilities.key": "NET ADMIN", "capabilities.value": "maybe",
		"storage.storageId": "not-an-id", "storage.path": "nowhere", "storage.bucket": "files/../other",
		"logConfig.driver": "paper", "logConfig.options.key": "a b", "logConfig.options.value": nul,
		"restartPolicy": "sometimes", "networkMode": "container:web", "networks.key": "container:web",
		"dockerLabels.key": "a b", "dockerLabels.value": nul,
		"expectedState.state": "gone", "expectedState.timeout": -1, "expectedState.exitCode": 256,
		"deploymentStrategy": "hope", "customHeaders.key": "X-Shop: yes", "proxyHeaders": aSwitch, "useLoadBalancer": aSwitch,
		"extraLBAnnotations.key": "a b", "extraLBAnnotations.value": nul,
		"healthCheckConfig.port": 65536, "healthCheckConfig.livenessProbe": "/a b", "healthCheckConfig.readinessProbe": "/a b", "healthCheckConfig.startupProbe": "/a b",
		"resourceConfig.limits.cpu": "lots", "resourceConfig.limits.memory": "lots", "resourceConfig.requests.cpu": "lots", "resourceConfig.requests.memory": "lots",
		"metrics.enabled": aSwitch, "metrics.path": "/a b", "metrics.port": -1,
	}
	for _, marker := range []string{"annotations", "labels"} {
		for _, kind := range []string{"deployment", "service", "ingress"} {
			wrong[marker+"."+kind+".key"], wrong[marker+"."+kind+".value"] = "a b", nul
		}
	}
	return wrong
}

// goodConfig is a configuration in which every key says something; every list has
// two entries, so that an index which is not 0 is seen.
func goodConfig(t *testing.T) object {
	t.Helper()
	text, err := os.ReadFile("testdata/containerconfig.json")
	if err != nil {
		t.Fatal(err)
	}
	var config object
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "storage") // is looked for among the team's
	var double func(v any) any
	double = func(v any) any {
		switch v := v.(type) {
		case object:
			for key, member := range v {
				v[key] = double(member)
			}
		case []any:
			first := double(v[0])
			if len(v) < 2 {
				v = append(v, second(t, first))
			}
			for i := range v {
				v[i] = double(v[i])
			}
			return v
		}
		return v
	}
	double(config)
	return config
}

// second is an entry of a list that goes with the first.
func second(t *testing.T, first any) any {
	t.Helper()
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	var copied object
	if err := json.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key", "name"} {
		if value, has := copied[name].(string); has && (name == "key" || copied["image"] != nil) {
			copied[name] = value + "-2"
		}
	}
	if copied["internal"] != nil {
		copied["internal"], copied["external"] = object{"from": 9100, "to": 9110}, object{"from": 19100, "to": 19110}
	}
	return copied
}

// leaves are the keys of a configuration: those of the documented API, and ours.
func leaves(t *testing.T) []string {
	t.Helper()
	var keys []string
	readJSON(t, "testdata/configuration_keys.json", &keys)
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer || strings.HasPrefix(of.Name(), "optional[") {
			if strings.HasPrefix(of.Name(), "optional[") {
				value, _ := of.FieldByName("value")
				of = value.Type
			}
			if of.Kind() != reflect.Struct {
				of = of.Elem()
			}
		}
		if of.Kind() != reflect.Struct {
			keys = append(keys, path)
			return
		}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if name != "id" { // is the client's own
				walk(strings.TrimPrefix(path+"."+name, "."), of.Field(i).Type)
			}
		}
	}
	walk("", reflect.TypeFor[teamapi.ContainerConfig]())
	slices.Sort(keys)
	return slices.Compact(keys)
}

// spoilt returns the part of a configuration that a key is in, with another
// value for the key in the last entry of each list on the way; the place of the
// key in it, and what was there.
func spoilt(t *testing.T, config object, key string, value any) (patch object, place string, was any) {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	patch = object{}
	if err := json.Unmarshal(text, &patch); err != nil {
		t.Fatal(err)
	}
	var at any = patch
	steps := strings.Split(key, ".")
	for i, step := range steps {
		place += "." + step
		members := at.(object)
		if i == len(steps)-1 {
			was = members[step]
			members[step] = value
			break
		}
		if at = members[step]; at == nil {
			t.Fatalf("the example says nothing of %s", key)
		}
		if list, is := at.([]any); is {
			last := len(list) - 1
			at, place = list[last], place+"["+strconv.Itoa(last)+"]"
		}
	}
	return patch, strings.TrimPrefix(place, "."), was
}

// pointing holds an answer to the place at fault.
func pointing(t *testing.T, r controllertest.Reply, place string) {
	t.Helper()
	pointer := ""
	for _, step := range strings.FieldsFunc("config."+place, func(c rune) bool { return strings.ContainsRune(".[]", c) }) {
		pointer += "/" + step
	}
	if r.Status != http.StatusBadRequest && r.Status != http.StatusNotFound {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	p := r.Object(t)
	if p["property"] != "config."+place || p["pointer"] != pointer {
		t.Errorf("points at %v (%v), want config.%s (%s): %s", p["property"], p["pointer"], place, pointer, r.Body)
	}
}

// shelf is an image and its instance, to be configured.
type shelf struct {
	*controllertest.Client
	image, instance string
}

func newShelf(t *testing.T) shelf {
	t.Helper()
	k := newCast(t)
	rows := k.rows(t)
	owner := k.people[actor.Owner]
	e := owner.Install(t, "acme", rows["{nodeId}"])
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s := shelf{owner,
		"/api/acme/projects/" + rows["{projectId}"] + "/versions/" + rows["{versionId}"] + "/images/" + rows["{imageId}"],
		"/api/acme/deployments/" + rows["{deploymentId}"] + "/instances/" + rows["{instanceId}"],
	}
	controllertest.Await(t, "the node has told its key", func() (bool, string) {
		r := s.Get(s.instance + "/secrets")
		return r.Object(t)["publicKey"] != nil, string(r.Body)
	})
	return s
}

// TestEveryKeyPointsAtItself gives each key of a configuration a value of a wrong
// type, then a wrong value of the right one, in an image's and an instance's: the
// answer says where.
func TestEveryKeyPointsAtItself(t *testing.T) {
	s := newShelf(t)
	wrong, keys := wrongValues(), leaves(t)
	for key := range wrong {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is no key of a configuration", key)
		}
	}
	key := s.Get(s.instance+"/secrets").Expect(t, http.StatusOK).String(t, "publicKey")
	image, instance := goodConfig(t), goodConfig(t)
	image["storage"] = object{"storageId": "", "path": "data", "bucket": "shop/files"}
	instance["storage"] = image["storage"]
	instance["secrets"] = []any{
		object{"key": "USER", "value": "open"},
		object{"key": "PASSWORD", "required": true, "value": "sesame", "encrypted": false, "publicKey": ""},
	}
	s.Patch(s.image, object{"config": image}).Expect(t, http.StatusNoContent)
	s.Patch(s.instance, object{"config": instance}).Expect(t, http.StatusNoContent)
	for _, leaf := range keys {
		value, listed := wrong[leaf]
		if !listed {
			t.Errorf("%s has no row: give it a value that is refused, or say why there is none", leaf)
			continue
		}
		t.Run(leaf, func(t *testing.T) {
			for path, config := range map[string]object{s.image: image, s.instance: instance} {
				config = maps.Clone(config)
				if slices.Contains(sealed, leaf) && path == s.image {
					continue
				}
				if strings.HasPrefix(leaf, "storage.") {
					config["storage"] = object{"storageId": "0199f000-0000-7000-8000-000000000000", "path": "data", "bucket": "shop/files"}
				}
				if slices.Contains(sealed, leaf) && leaf != "secrets.encrypted" {
					config["secrets"] = []any{object{"key": "A", "value": "a"}, object{"key": "B", "value": "b", "encrypted": true, "publicKey": key}}
				}
				_, _, was := spoilt(t, config, leaf, nil)
				var other any = 7
				if _, text := was.(string); !text {
					other = "seven"
				}
				patch, place, _ := spoilt(t, config, leaf, other)
				pointing(t, s.Patch(path, object{"config": patch}), place)
				if _, none := value.(anyValue); !none {
					patch, place, _ = spoilt(t, config, leaf, value)
					pointing(t, s.Patch(path, object{"config": patch}), place)
				}
			}
		})
	}
}

// TestShapesPointAtThemselves gives lists for objects and the other way round,
// entries that are none, entries that lack what they need, and keys that there
// are not.
func TestShapesPointAtThemselves(t *testing.T) {
	s := newShelf(t)
	try := func(key string, value any, below string) {
		t.Run(fmt.Sprint(key, below, " = ", value), func(t *testing.T) {
			patch, place, _ := spoilt(t, goodConfig(t), key, value)
			pointing(t, s.Patch(s.image, object{"config": patch}), place+below)
		})
	}
	var members func(path string, of object)
	members = func(path string, of object) {
		if path != "" {
			try(path+".surplus", true, "")
		}
		for key, member := range of {
			at := strings.TrimPrefix(path+"."+key, ".")
			switch v := member.(type) {
			case object:
				try(at, []any{}, "")
				members(at, v)
			case []any:
				entry := v[0].(object)
				try(at, object{}, "")
				try(at, []any{entry, 7}, "[1]")
				try(at+".id", strings.Repeat("x", 65), "")
				for _, needed := range []string{"key", "name", "internal"} {
					if entry[needed] != nil {
						lacking := maps.Clone(entry)
						delete(lacking, needed)
						try(at, []any{entry, lacking}, "[1]."+needed)
					}
				}
				members(at, entry)
			}
		}
	}
	members("", goodConfig(t))
}

// TestAPointerIsOnlyIntoABody: parameters of the path and the query have none.
func TestAPointerIsOnlyIntoABody(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	for _, path := range []string{"/api/acme/nodes?take=0", "/api/acme/nodes/x", "/api/acme/audit-log?skip=0&take=1&from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z"} {
		p := problemOf(t, owner.Get(path))
		if p["property"] == nil || p["pointer"] != nil {
			t.Errorf("%s: %v", path, p)
		}
	}
	if p := problemOf(t, owner.Post("/api/acme/deployments", object{"versionId": "x", "nodeId": "y", "prefix": "shop"})); p["pointer"] != "/nodeId" && p["pointer"] != "/versionId" {
		t.Errorf("%v", p)
	}
	p := problemOf(t, owner.Post("/api/acme/nodes", object{"name": strings.Repeat("x", 71)}))
	if p["pointer"] != "/name" {
		t.Errorf("what a service finds wrong: %v", p)
	}
	if p = problemOf(t, owner.Post("/api/acme/nodes", object{"name": "one", "a~b/c": 1})); p["pointer"] != "/a~0b~1c" {
		t.Errorf("a key to be escaped: %v", p)
	}
}

func problemOf(t *testing.T, r controllertest.Reply) object {
	t.Helper()
	problem(t, r, http.StatusBadRequest)
	return r.Object(t)
}
