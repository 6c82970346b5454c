package teamapi

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// unstorable returns the place of a text in a body that can't be kept: one with
// a NUL character, which PostgreSQL has in no text. What it points to is a
// place as properties are written; "" when all texts are good.
func unstorable(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		if strings.ContainsRune(v.String(), 0) {
			return "."
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return unstorable(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 { // ids, and raw bytes
			return ""
		}
		for i := range v.Len() {
			if at := unstorable(v.Index(i)); at != "" {
				return "[" + strconv.Itoa(i) + "]" + at
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if at := unstorable(key); at != "" {
				return at
			}
			if at := unstorable(v.MapIndex(key)); at != "" {
				return "." + key.String() + at
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if at := unstorable(v.Field(i)); at != "" {
				return memberOf(v.Type().Field(i)) + at
			}
		}
	default:
	}
	return ""
}

// memberOf is how a field shows in the place of what is in it; what is embedded
// and the insides of an optional show not at all.
func memberOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return ""
	}
	return "." + name
}

// bodyIndex returns the index of an input's body; nil when it has none.
func bodyIndex(input reflect.Type) []int {
	if input.Kind() != reflect.Struct {
		return nil
	}
	if field, found := input.FieldByName("Body"); found {
		return field.Index
	}
	return nil
}

// checkTexts refuses a body with a text that can't be kept.
func checkTexts(body reflect.Value) *Problem {
	at := strings.Trim(unstorable(body), ".")
	if at == "" {
		return nil
	}
	const message = "must not contain a NUL character"
	p := newProblem(http.StatusBadRequest, message)
	p.Property, p.Errors = at, []Fault{{Property: at, Message: message}}
	return p
}
