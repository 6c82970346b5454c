package deployment

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
)

// Difference is one place in which two releases are not the same.
type Difference struct {
	// Pointer is a JSON pointer (RFC 6901) into the releases' documents.
	Pointer string
	// From and To are what stands there; nil where there is nothing. Of a
	// secret both are nil.
	From, To any
	// Secret: that it differs is all that is told.
	Secret bool
}

// Compare returns in what two releases of a deployment differ, in the order of
// the pointers. Errors: NotFound.
func (s *Service) Compare(ctx context.Context, id uuid.UUID, from, to int64) ([]Difference, error) {
	if _, err := s.find(ctx, authz.DeploymentRead, id); err != nil {
		return nil, err
	}
	a, err := s.readRelease(ctx, id, from)
	if err != nil {
		return nil, err
	}
	b, err := s.readRelease(ctx, id, to)
	if err != nil {
		return nil, err
	}
	return differences(nil, "", map[string]any(a.Document()), map[string]any(b.Document())), nil
}

// differences adds to found where a and b differ, below a pointer.
func differences(found []Difference, pointer string, a, b any) []Difference {
	ma, isA := a.(map[string]any)
	mb, isB := b.(map[string]any)
	// What is only on one side is told part by part, too.
	if isA && (isB || b == nil) || isB && a == nil {
		keys := slices.Sorted(maps.Keys(ma))
		for key := range mb {
			if _, both := ma[key]; !both {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			below := pointer + "/" + escape(key)
			if key == secretsKey && strings.Count(pointer, "/") == containerDepth {
				found = secretDifferences(found, below, ma[key], mb[key])
				continue
			}
			found = differences(found, below, ma[key], mb[key])
		}
		return found
	}
	la, isA := a.([]any)
	lb, isB := b.([]any)
	if isA && isB {
		for i := range max(len(la), len(lb)) {
			found = differences(found, pointer+"/"+strconv.Itoa(i), at(la, i), at(lb, i))
		}
		return found
	}
	if reflect.DeepEqual(a, b) {
		return found
	}
	return append(found, Difference{Pointer: pointer, From: a, To: b})
}

// containerDepth is how many steps lead to a container: /containers/web.
const containerDepth = 2

// secretDifferences adds which secrets differ, and nothing of what they are.
func secretDifferences(found []Difference, pointer string, a, b any) []Difference {
	for _, d := range differences(nil, "", a, b) {
		key, _, _ := strings.Cut(strings.TrimPrefix(d.Pointer, "/"), "/")
		below := pointer + "/" + key
		if n := len(found); n > 0 && found[n-1].Pointer == below {
			continue
		}
		found = append(found, Difference{Pointer: below, Secret: true})
	}
	return found
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// escape makes a key one step of a JSON pointer.
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }
