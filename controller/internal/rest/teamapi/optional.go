package teamapi

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// optional is a value that a document may leave out, give as null, or give.
// In documents that are merged into what is stored these mean: leave it, clear
// it, replace it. In answers it is always there, as the value or as null.
type optional[T any] struct {
	present bool
	value   *T
}

// some returns the optional that holds what p points to; null for nil.
func some[T any](p *T) optional[T] { return optional[T]{present: true, value: p} }

// MarshalJSON writes the value or null.
func (o optional[T]) MarshalJSON() ([]byte, error) {
	if o.value == nil { // most members of a configuration
		return null{}.MarshalJSON()
	}
	return json.Marshal(o.value)
}

// UnmarshalJSON reads the value or null; that it is called at all is what
// tells null from absent.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	*o = optional[T]{present: true}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil
	}
	o.value = new(T)
	return json.Unmarshal(data, o.value)
}

// Schema is T's own, but nullable, and with T's words when it is an
// enumeration.
func (optional[T]) Schema(r huma.Registry) *huma.Schema {
	t := reflect.TypeFor[T]()
	s := huma.SchemaFromType(r, t)
	s.Nullable = true
	if t == reflect.TypeFor[[]uuid.UUID]() {
		s.Items.Format = "uuid" // which huma takes from a tag alone
	}
	var zero T
	if words, ok := any(zero).(interface{ Values() []T }); ok {
		for _, word := range words.Values() {
			s.Enum = append(s.Enum, reflect.ValueOf(word).String())
		}
		s.Enum = append(s.Enum, null{})
	}
	return s
}

// null stands for JSON's null in the words of an enumeration; nil would show
// as "<nil>" in messages.
type null struct{}

// String returns the word.
func (null) String() string { return "null" }

// MarshalJSON writes the word.
func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }
