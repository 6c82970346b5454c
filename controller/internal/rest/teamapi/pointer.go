package teamapi

import (
	"reflect"
	"strings"
)

// pointerTo turns a place in a body, as properties are written
// ("config.ports[0].internal"), into a JSON pointer (RFC 6901).
func pointerTo(property string) string {
	var pointer strings.Builder
	for _, part := range strings.Split(strings.ReplaceAll(property, "[", ".["), ".") {
		if index, ok := strings.CutPrefix(part, "["); ok {
			part = strings.TrimSuffix(index, "]")
		}
		if part != "" {
			pointer.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
		}
	}
	return pointer.String()
}

// places tells which properties are places in a request's body; all others are
// parameters of the path or the query, which no JSON pointer leads to.
type places struct {
	list    bool
	members map[string]bool
}

// placesOf reads it from the type of an operation's input.
func placesOf(input reflect.Type) places {
	b := places{members: map[string]bool{}}
	if input.Kind() != reflect.Struct {
		return b
	}
	field, found := input.FieldByName("Body")
	if !found {
		return b
	}
	body := field.Type
	if body.Kind() == reflect.Pointer {
		body = body.Elem()
	}
	switch body.Kind() {
	case reflect.Slice:
		b.list = true
	case reflect.Struct:
		for _, member := range reflect.VisibleFields(body) {
			if name, _, _ := strings.Cut(member.Tag.Get("json"), ","); name != "" && name != "-" {
				b.members[name] = true
			}
		}
	default:
	}
	return b
}

// has reports whether a property is a place in the body.
func (b places) has(property string) bool {
	if strings.HasPrefix(property, "[") {
		return b.list
	}
	return b.members[property[:strings.IndexAny(property+".", ".[")]]
}

// point fills in the pointers of a problem that a service found.
func (b places) point(p *Problem) {
	if b.has(p.Property) {
		p.Pointer = pointerTo(p.Property)
	}
	for i, fault := range p.Errors {
		if b.has(fault.Property) {
			p.Errors[i].Pointer = pointerTo(fault.Property)
		}
	}
}
