package teamapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"fairlead.dev/controller/internal/controllertest"
)

// documented is one endpoint of the team API's documentation.
type documented struct {
	// Endpoint is "METHOD /path/{parameter}".
	Endpoint string
	Errors   []int
	Query    []string
	// Request and Response are shapes: "string", "number", "boolean", "time",
	// a list of one shape, or an object of them. Nil where there is no body.
	Request, Response any
}

func (d documented) method() string { return strings.Fields(d.Endpoint)[0] }
func (d documented) path() string   { return strings.Fields(d.Endpoint)[1] }

// at fills in the parameters of the path; those without a value get one that
// exists nowhere.
func (d documented) at(values map[string]string) string {
	parts := strings.Split(d.path(), "/")
	for i, part := range parts {
		switch {
		case values[part] != "":
			parts[i] = values[part]
		case strings.HasSuffix(part, "Id}"):
			parts[i] = uuid.NewString()
		case strings.HasPrefix(part, "{"):
			parts[i] = "nothing"
		}
	}
	query := map[string]string{"skip": "0", "take": "100", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "prefix": ""}
	var chosen []string
	for _, name := range d.Query {
		chosen = append(chosen, name+"="+query[name])
	}
	path := strings.Join(parts, "/")
	if len(chosen) > 0 {
		path += "?" + strings.Join(chosen, "&")
	}
	return path
}

func inventory(t *testing.T) []documented {
	t.Helper()
	var list []documented
	readJSON(t, "testdata/endpoints.json", &list)
	if len(list) != 92 {
		t.Fatalf("%d endpoints in the inventory, want 92", len(list))
	}
	return list
}

// contract checks answers against the documentation and against the
// controller's own OpenAPI document.
type contract struct {
	t         *testing.T
	inventory map[string]documented
	document  map[string]any
	schemas   *jsonschema.Compiler
	tried     map[string]bool
}

const openAPI = "https://fairlead.invalid/openapi.json"

func newContract(t *testing.T, c *controllertest.Controller) *contract {
	t.Helper()
	k := &contract{t: t, inventory: map[string]documented{}, tried: map[string]bool{}, schemas: jsonschema.NewCompiler()}
	for _, d := range inventory(t) {
		k.inventory[d.Endpoint] = d
	}
	body := c.Anonymous(t).Get("/openapi.json").Expect(t, http.StatusOK).Body
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	k.document = document.(map[string]any)
	k.schemas.DefaultDraft(jsonschema.Draft2020)
	k.schemas.AssertFormat()
	if err := k.schemas.AddResource(openAPI, document); err != nil {
		t.Fatal(err)
	}
	return k
}

// check holds an answer to an endpoint to both documents.
func (k *contract) check(endpoint string, r controllertest.Reply) {
	k.t.Helper()
	d, known := k.inventory[endpoint]
	if !known {
		k.t.Fatalf("%s is not in the inventory", endpoint)
	}
	k.checkOpenAPI(d, r)
	if r.Header.Get("Request-Id") == "" {
		k.t.Errorf("%s: an answer without a request id", endpoint)
	}
	if location := r.Header.Get("Location"); (r.Status == http.StatusCreated) != strings.HasPrefix(location, "/api/") {
		k.t.Errorf("%s: status %d with the Location %q", endpoint, r.Status, location)
	}
	if r.Status >= http.StatusBadRequest || d.Response == nil {
		return
	}
	var answer any
	r.Into(k.t, &answer)
	k.checkShape(endpoint, answer, d.Response)
}

// checkShape checks that an answer has every documented key with its type. A
// null stands for a value that there is none of; more keys may be there.
func (k *contract) checkShape(at string, got, want any) {
	k.t.Helper()
	if got == nil {
		return
	}
	switch want := want.(type) {
	case []any:
		list, ok := got.([]any)
		if !ok {
			k.t.Errorf("%s is %v, want a list", at, got)
		}
		for i, item := range list {
			if len(want) > 0 {
				k.checkShape(fmt.Sprintf("%s[%d]", at, i), item, want[0])
			}
		}
	case map[string]any:
		k.checkMembers(at, got, want)
	case string:
		if !fits(got, want) {
			k.t.Errorf("%s is %v, want a %s", at, got, want)
		}
	}
}

func (k *contract) checkMembers(at string, got any, want map[string]any) {
	k.t.Helper()
	members, ok := got.(map[string]any)
	if !ok {
		k.t.Errorf("%s is %v, want an object", at, got)
		return
	}
	for key, shape := range want {
		value, there := members[key]
		// The example of a registry's details is that of one kind of registry.
		if !there && (!strings.HasSuffix(at, ".details") || key != "imageNamePrefix") {
			k.t.Errorf("%s lacks the key %q: %v", at, key, got)
		}
		k.checkShape(at+"."+key, value, shape)
	}
}

func fits(value any, kind string) bool {
	switch v := value.(type) {
	case string:
		if kind == "time" {
			at, err := time.Parse(time.RFC3339Nano, v)
			return err == nil && at.Location() == time.UTC
		}
		return kind == "string"
	case float64, json.Number:
		return kind == "number"
	case bool:
		return kind == "boolean"
	default:
		return false
	}
}

// checkOpenAPI validates an answer by the schema that the controller publishes
// for the operation and the status.
func (k *contract) checkOpenAPI(d documented, r controllertest.Reply) {
	k.t.Helper()
	steps := []string{"paths", d.path(), strings.ToLower(d.method()), "responses", strconv.Itoa(r.Status)}
	var node any = k.document
	for _, step := range steps {
		members, _ := node.(map[string]any)
		if node = members[step]; node == nil {
			k.t.Errorf("%s: status %d is not in the OpenAPI document (no %s)", d.Endpoint, r.Status, step)
			return
		}
	}
	content, _ := node.(map[string]any)["content"].(map[string]any)
	if len(r.Body) == 0 {
		if content != nil {
			k.t.Errorf("%s: status %d has no body, and the OpenAPI document says that it has", d.Endpoint, r.Status)
		}
		return
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if content[mediaType] == nil {
		k.t.Errorf("%s: status %d answers with %s, the OpenAPI document has %v", d.Endpoint, r.Status, mediaType, slices.Collect(maps.Keys(content)))
		return
	}
	if strings.HasSuffix(mediaType, "json") {
		k.validate(d, append(steps, "content", mediaType, "schema"), r)
	}
}

func (k *contract) validate(d documented, steps []string, r controllertest.Reply) {
	k.t.Helper()
	pointer := ""
	for _, step := range steps {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(step)
	}
	schema, err := k.schemas.Compile(openAPI + "#" + pointer)
	if err != nil {
		k.t.Fatalf("%s: compile the schema: %v", d.Endpoint, err)
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		k.t.Fatal(err)
	}
	if err := schema.Validate(answer); err != nil {
		k.t.Errorf("%s: %s is not what the OpenAPI document says: %v", d.Endpoint, r.Body, err)
	}
}
