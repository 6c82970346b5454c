package teamapi

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const schemaPrefix = "#/components/schemas/"

// describeNulls makes the document say which members of answers may be null:
// those that are pointers. huma says so of plain values, but neither of objects
// nor of the words of an enumeration. Schemas of requests are left alone, since
// requests are checked by them.
func describeNulls(document *huma.OpenAPI) {
	asked := map[string]bool{}
	for _, item := range document.Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if o == nil || o.RequestBody == nil {
				continue
			}
			for _, content := range o.RequestBody.Content {
				collectRefs(document.Components.Schemas, content.Schema, asked)
			}
		}
	}
	for name, schema := range document.Components.Schemas.Map() {
		t := document.Components.Schemas.TypeFromRef(schemaPrefix + name)
		if t != nil && t.Kind() == reflect.Struct && !asked[name] {
			describeNullsOf(schema, t)
		}
	}
}

// collectRefs adds the names of all schemas that one is made of.
func collectRefs(r huma.Registry, s *huma.Schema, names map[string]bool) {
	if s == nil {
		return
	}
	if name, ok := strings.CutPrefix(s.Ref, schemaPrefix); ok && !names[name] {
		names[name] = true
		collectRefs(r, r.Map()[name], names)
	}
	collectRefs(r, s.Items, names)
	for _, property := range s.Properties {
		collectRefs(r, property, names)
	}
	for _, parts := range [][]*huma.Schema{s.OneOf, s.AnyOf, s.AllOf} {
		for _, part := range parts {
			collectRefs(r, part, names)
		}
	}
}

func describeNullsOf(s *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		property := s.Properties[name]
		if property == nil || f.Type.Kind() != reflect.Pointer || strings.Contains(options, "omitempty") {
			continue
		}
		if property.Ref != "" {
			s.Properties[name] = &huma.Schema{
				Description: property.Description, AnyOf: []*huma.Schema{{Ref: property.Ref}, {Type: "null"}},
			}
			continue
		}
		property.Nullable = true
		if len(property.Enum) > 0 && property.Enum[len(property.Enum)-1] != (null{}) {
			property.Enum = append(property.Enum, null{})
		}
	}
}
