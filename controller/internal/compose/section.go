package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// section is a mapping of the file that is being read. What is not taken out
// of it is reported when it is closed, so that no key can be forgotten.
type section struct {
	*report
	path   string
	values map[string]any
	taken  map[string]bool
}

func open(r *report, path string, value any) *section {
	values, _ := value.(map[string]any)
	return &section{report: r, path: path, values: values, taken: map[string]bool{}}
}

// pointer is the path of a key, escaped as RFC 6901 says.
func pointer(path string, key any) string {
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(fmt.Sprint(key))
}

func (s *section) at(key any) string { return pointer(s.path, key) }

// take returns a key's value and whether something is said there.
func (s *section) take(key string) (any, bool) {
	s.taken[key] = true
	v := s.values[key]
	return v, v != nil
}

// inner opens a mapping below; its own close reports what is left in it.
func (s *section) inner(key string) *section {
	v, _ := s.take(key)
	return open(s.report, s.at(key), v)
}

// text returns a scalar as text, "" when nothing is said.
func (s *section) text(key string) string {
	v, _ := s.take(key)
	return text(v)
}

// flag returns a boolean; ok is false when nothing is said.
func (s *section) flag(key string) (value, ok bool) {
	v, said := s.take(key)
	if !said {
		return false, false
	}
	value, err := strconv.ParseBool(text(v))
	if err != nil {
		s.refuse(s.at(key), "%q is not a boolean", text(v))
		return false, false
	}
	return value, true
}

// number returns an integer; ok is false when nothing is said.
func (s *section) number(key string, highest int64) (value int64, ok bool) {
	v, said := s.take(key)
	if !said {
		return 0, false
	}
	value, err := strconv.ParseInt(text(v), 10, 64)
	if err != nil || value < 0 || value > highest {
		s.refuse(s.at(key), "%q is not a number from 0 to %d", text(v), highest)
		return 0, false
	}
	return value, true
}

// only accepts one value of a key, and the key's absence.
func (s *section) only(key, accepted string) {
	if v, said := s.take(key); said && text(v) != accepted {
		s.refuse(s.at(key), "%q is not supported, only %q", text(v), accepted)
	}
}

// close reports every key that nobody took.
func (s *section) close(reason string) {
	for _, key := range keys(s.values) {
		switch {
		case s.taken[key]:
		case strings.HasPrefix(key, "x-"):
			s.note(s.at(key), "an extension, which has no meaning in Compose")
		case s.values[key] != nil:
			s.refuse(s.at(key), "%s", reasonFor(key, reason))
		}
	}
}

// text writes a scalar as it stands in a Compose file.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// texts returns a list of scalars; one scalar is a list of itself.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if v == nil {
			return nil
		}
		list = []any{v}
	}
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = text(item)
	}
	return words
}

// keys of a mapping, sorted.
func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

type pair struct {
	key, value string
	// said is false for a key alone, without "=".
	said bool
}

// pairs reads the two forms of a list of pairs: a mapping, by key, and a list
// of key=value. Of a key that is there twice the last counts, as in Compose.
func pairs(v any) []pair {
	var list []pair
	if m, ok := v.(map[string]any); ok {
		for _, key := range keys(m) {
			list = append(list, pair{key, text(m[key]), m[key] != nil})
		}
		return list
	}
	for _, written := range texts(v) {
		key, value, said := strings.Cut(written, "=")
		p := pair{key, value, said}
		if i := slices.IndexFunc(list, func(p pair) bool { return p.key == key }); i >= 0 {
			list[i] = p
			continue
		}
		list = append(list, p)
	}
	return list
}

// reasonFor says why a key is not carried over.
func reasonFor(key, otherwise string) string {
	switch key {
	case "build":
		return "images are not built here: build and push it, and name it in image"
	case "env_file", "label_file":
		return "files beside the Compose file can't be read here: write their content into the file"
	case "include":
		return "other files can't be read here: write their content into this one"
	case "healthcheck":
		return "the image's own HEALTHCHECK counts; healthCheckConfig of the image takes HTTP and TCP probes"
	case "container_name":
		return "containers are called by the deployment's prefix and the service"
	case "privileged", "devices", "gpus", "security_opt", "pid", "ipc", "userns_mode", "cgroup", "cgroup_parent":
		return "a container can't ask for this part of its host"
	case "stop_grace_period":
		return "set drain in the policy of the deployment"
	case "configs":
		return "put such files into a volume, by configContainer or a storage"
	default:
		return otherwise
	}
}
