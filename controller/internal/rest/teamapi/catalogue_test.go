package teamapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// shapes are examples of the API's answers, by method and path below the
// team's: their keys and the types of their values are what clients rely on.
func shapes(t *testing.T) map[string]any {
	t.Helper()
	var examples map[string]any
	readJSON(t, "testdata/shapes.json", &examples)
	image := examples["image, without its config"].(object)
	var config object
	readJSON(t, "testdata/containerconfig.json", &config)
	image["config"] = config
	for key, example := range examples {
		examples[key] = withImage(example, image)
	}
	return examples
}

// withImage puts the example of an image where "@image" is.
func withImage(example any, image object) any {
	switch e := example.(type) {
	case string:
		if e == "@image" {
			return image
		}
	case []any:
		for i := range e {
			e[i] = withImage(e[i], image)
		}
	case object:
		for key := range e {
			e[key] = withImage(e[key], image)
		}
	}
	return example
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// wantShape checks that an answer has the keys and types of an example.
func wantShape(t *testing.T, at string, got, example any) {
	t.Helper()
	switch want := example.(type) {
	case nil:
	case object:
		have, ok := got.(object)
		if !ok {
			t.Errorf("%s is %v, want an object", at, got)
			return
		}
		wantKeys(t, at, have, slices.Collect(maps.Keys(want))...)
		for key := range want {
			wantShape(t, at+"."+key, have[key], want[key])
		}
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) == 0 {
			t.Errorf("%s is %v, want a list with entries", at, got)
			return
		}
		for i := range have {
			wantShape(t, fmt.Sprintf("%s[%d]", at, i), have[i], want[min(i, len(want)-1)])
		}
	default:
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", example) {
			t.Errorf("%s is %v, want a %T", at, got, example)
		}
	}
}

// wantAnswer sends a request and checks the shape of its answer.
func (s *shop) wantAnswer(status int, method, path, shape string, document any) any {
	s.t.Helper()
	got, header, body := s.call(method, path, document)
	if got != status {
		s.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, body, status)
	}
	var answer any
	if err := json.Unmarshal(body, &answer); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, body)
	}
	wantShape(s.t, method+" "+path, answer, shapes(s.t)[shape])
	if made, ok := answer.(object); ok && status == http.StatusCreated {
		if want := "/api/" + s.slug + path + "/" + made["id"].(string); header.Get("Location") != want {
			s.t.Errorf("%s %s: location %q, want %q", method, path, header.Get("Location"), want)
		}
	}
	return answer
}

// images returns the path of the images of the version that has one, and that
// of the image.
func (s *shop) images() (all, one string) {
	s.t.Helper()
	_, _, body := s.call(http.MethodGet, "/projects", nil)
	var projects []object
	if err := json.Unmarshal(body, &projects); err != nil || len(projects) != 1 {
		s.t.Fatalf("projects: %s, %v", body, err)
	}
	all = "/projects/" + projects[0]["id"].(string) + "/versions/" + s.version.String() + "/images"
	_, _, body = s.call(http.MethodGet, all, nil)
	var images []object
	if err := json.Unmarshal(body, &images); err != nil || len(images) == 0 {
		s.t.Fatalf("images: %s, %v", body, err)
	}
	return all, all + "/" + images[0]["id"].(string)
}

func TestRegistriesHaveTheirDocumentedShape(t *testing.T) {
	s := newShop(t)
	draft := object{"type": "hub", "name": "Acme", "description": "images", "icon": "box", "details": object{"imageNamePrefix": "acme"}}
	made := s.wantAnswer(201, http.MethodPost, "/registries", "POST /registries", draft).(object)
	path := "/registries/" + made["id"].(string)
	s.wantAnswer(200, http.MethodGet, path, "GET /registries/{registryId}", nil)
	s.wantAnswer(200, http.MethodGet, "/registries", "GET /registries", nil)
	draft["name"] = "Acme's"
	s.want(204, http.MethodPut, path, draft)
	if got := s.want(200, http.MethodGet, path, nil); got["name"] != "Acme's" || got["inUse"] != false {
		t.Errorf("got %v", got)
	}
	s.want(204, http.MethodDelete, path, nil)
	s.want(404, http.MethodGet, path, nil)
}

func TestRegistryCredentialsAreNeverAnswered(t *testing.T) {
	s := newShop(t)
	details := object{"url": "registry.example.com:5000", "user": "robot-7", "token": "s3cret-7"}
	draft := object{"type": "v2", "name": "Ours", "details": details}
	status, _, body := s.call(http.MethodPost, "/registries", draft)
	var made object
	if err := json.Unmarshal(body, &made); err != nil || status != 201 {
		t.Fatalf("got %d %s", status, body)
	}
	path := "/registries/" + made["id"].(string)
	_, _, detail := s.call(http.MethodGet, path, nil)
	_, _, list := s.call(http.MethodGet, "/registries", nil)
	for _, answer := range [][]byte{body, detail, list} {
		if text := string(answer); strings.Contains(text, "robot-7") || strings.Contains(text, "s3cret-7") {
			t.Errorf("the answer shows credentials: %s", text)
		}
	}
	// A change without credentials keeps them, so it can't move to another host.
	details = object{"url": "other.example.com"}
	p := s.want(400, http.MethodPut, path, object{"type": "v2", "name": "Ours", "details": details})
	if p["property"] != "details.token" {
		t.Errorf("got %v", p)
	}
	details["user"], details["token"] = "", ""
	s.want(204, http.MethodPut, path, object{"type": "v2", "name": "Ours", "details": details})
}

func TestProjectsAndVersionsHaveTheirDocumentedShape(t *testing.T) {
	s := newShop(t)
	s.deploy("shop")
	_, image := s.images()
	var config object
	readJSON(t, "testdata/containerconfig.json", &config)
	stored := s.want(201, http.MethodPost, "/storages", object{"name": "files", "url": "https://s3.example.com"})
	config["storage"].(object)["storageId"] = stored["id"]
	s.want(204, http.MethodPatch, image, object{"config": config})
	version := image[:strings.LastIndex(image, "/images")]
	project := version[:strings.LastIndex(version, "/versions")]

	s.wantAnswer(200, http.MethodGet, "/projects", "GET /projects", nil)
	s.wantAnswer(200, http.MethodGet, project, "GET /projects/{projectId}", nil)
	s.wantAnswer(200, http.MethodGet, project+"/versions", "GET /projects/{projectId}/versions", nil)
	s.wantAnswer(200, http.MethodGet, version, "GET /projects/{projectId}/versions/{versionId}", nil)
	s.wantAnswer(200, http.MethodGet, version+"/images", "GET /projects/{projectId}/versions/{versionId}/images", nil)
	s.wantAnswer(200, http.MethodGet, image, "GET /projects/{projectId}/versions/{versionId}/images/{imageId}", nil)
	s.wantAnswer(201, http.MethodPost, "/projects", "POST /projects",
		object{"type": "versionless", "name": "Simple", "description": "text", "changelog": "text"})
	made := s.wantAnswer(201, http.MethodPost, project+"/versions", "POST /projects/{projectId}/versions",
		object{"type": "incremental", "name": "1.0", "changelog": "first"}).(object)
	next := project + "/versions/" + made["id"].(string)
	s.want(204, http.MethodPut, next, object{"name": "1.1", "changelog": "second"})
	s.want(204, http.MethodPut, next+"/default", nil)
	if got := s.want(200, http.MethodGet, next, nil); got["name"] != "1.1" || got["default"] != true {
		t.Errorf("got %v", got)
	}
	s.want(204, http.MethodDelete, next, nil)
	s.want(204, http.MethodPut, project, object{"name": "Shop", "description": "text"})
	s.want(204, http.MethodPost, project+"/convert", nil)
	s.want(204, http.MethodDelete, project, nil)
	s.want(404, http.MethodGet, version, nil)
}

func TestImagesAreAddedOrderedAndDeleted(t *testing.T) {
	s := newShop(t)
	all, first := s.images()
	registry := s.want(200, http.MethodGet, first, nil)["registry"].(object)["id"]
	status, header, body := s.call(http.MethodPost, all, []object{{"registryId": registry, "images": []string{"acme/db:2", "cache"}}})
	var added []object
	if err := json.Unmarshal(body, &added); err != nil || status != 201 || len(added) != 2 || header.Get("Location") != "/api/"+s.slug+all {
		t.Fatalf("got %d %v %s", status, header, body)
	}
	if added[0]["order"] != 2.0 || added[1]["tag"] != "latest" || added[1]["config"].(object)["name"] != "cache" {
		t.Errorf("added %v", added)
	}
	ids := []any{added[1]["id"], first[len(all)+1:], added[0]["id"]}
	s.want(204, http.MethodPut, all+"/order", ids)
	if got := s.want(200, http.MethodGet, first, nil); got["order"] != 2.0 {
		t.Errorf("order = %v, want 2", got["order"])
	}
	s.want(204, http.MethodPatch, first, object{"tag": "2.0", "config": nil})
	s.want(204, http.MethodPatch, first, object{"tag": nil})
	if got := s.want(200, http.MethodGet, first, nil); got["tag"] != "2.0" || got["config"].(object)["name"] != "web" {
		t.Errorf("got %v", got)
	}
	s.want(204, http.MethodDelete, first, nil)
	s.want(404, http.MethodGet, first, nil)
}

func TestCatalogueRequestsThatAreRefused(t *testing.T) {
	s := newShop(t)
	all, first := s.images()
	version := all[:strings.LastIndex(all, "/images")]
	registry := s.want(200, http.MethodGet, first, nil)["registry"].(object)["id"].(string)
	image := first[len(all)+1:]
	unknown := uuid.NewString()
	config := func(c object) object { return object{"config": c} }
	tests := map[string]struct {
		method, path string
		body         any
		status       int
		property     string
	}{
		"registry: not an id":         {http.MethodGet, "/registries/x", nil, 400, "registryId"},
		"registry: not there":         {http.MethodGet, "/registries/" + unknown, nil, 404, "registryId"},
		"registry: no details":        {http.MethodPost, "/registries", object{"type": "v2", "name": "x"}, 400, "details"},
		"registry: unknown type":      {http.MethodPost, "/registries", object{"type": "group", "name": "x", "details": object{}}, 400, "type"},
		"registry: stray key":         {http.MethodPost, "/registries", object{"type": "v2", "name": "x", "details": object{"url": "r.io", "teamId": unknown}}, 400, "details.teamId"},
		"registry: name taken":        {http.MethodPost, "/registries", object{"type": "v2", "name": "Here", "details": object{"url": "r.io"}}, 409, "name"},
		"registry: in use":            {http.MethodDelete, "/registries/" + registry, nil, 412, "id"},
		"project: not there":          {http.MethodGet, "/projects/" + unknown, nil, 404, "projectId"},
		"project: no name":            {http.MethodPost, "/projects", object{"type": "versioned", "name": " "}, 400, "name"},
		"project: name taken":         {http.MethodPost, "/projects", object{"type": "versioned", "name": "shop"}, 409, "name"},
		"project: changelog":          {http.MethodPut, version[:strings.Index(version, "/versions")], object{"name": "shop", "changelog": "x"}, 412, "changelog"},
		"versions: no project":        {http.MethodGet, "/projects/" + unknown + "/versions", nil, 404, "projectId"},
		"version: not there":          {http.MethodGet, version[:strings.LastIndex(version, "/")+1] + unknown, nil, 404, "versionId"},
		"version: name taken":         {http.MethodPut, version, object{"name": "bare"}, 409, "name"},
		"images: not a list":          {http.MethodPost, all, object{}, 400, ""},
		"images: nothing":             {http.MethodPost, all, []object{}, 400, ""},
		"images: null":                {http.MethodPost, all, json.RawMessage("null"), 400, ""},
		"images: registry not there":  {http.MethodPost, all, []object{{"registryId": unknown, "images": []string{"web"}}}, 404, "[0].registryId"},
		"images: not an image":        {http.MethodPost, all, []object{{"registryId": registry, "images": []string{"Web"}}}, 400, "[0].images[0]"},
		"image: not there":            {http.MethodGet, all + "/" + unknown, nil, 404, "imageId"},
		"order: one is missing":       {http.MethodPut, all + "/order", []string{}, 400, ""},
		"order: one is there twice":   {http.MethodPut, all + "/order", []string{image, image}, 409, "[1]"},
		"order: not an id":            {http.MethodPut, all + "/order", []string{"x"}, 400, "[0]"},
		"patch: bad tag":              {http.MethodPatch, first, object{"tag": "a b"}, 400, "tag"},
		"patch: bad port":             {http.MethodPatch, first, config(object{"ports": []object{{"internal": 0}}}), 400, "config.ports[0].internal"},
		"patch: port is text":         {http.MethodPatch, first, config(object{"ports": []object{{"internal": "80"}}}), 400, "config.ports[0].internal"},
		"patch: unknown word":         {http.MethodPatch, first, config(object{"networkMode": "mesh"}), 400, "config.networkMode"},
		"patch: unknown key":          {http.MethodPatch, first, config(object{"privileged": true}), 400, "config.privileged"},
		"patch: image says no secret": {http.MethodPatch, first, config(object{"secrets": []object{{"key": "A", "value": "x"}}}), 400, "config.secrets[0].value"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.t = t
			p := s.want(test.status, test.method, test.path, test.body)
			if property, _ := p["property"].(string); property != test.property || p["message"] == "" {
				t.Errorf("got %v, want property %q", p, test.property)
			}
		})
	}
}
