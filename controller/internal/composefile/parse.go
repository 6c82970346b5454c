package composefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/template"
	"gopkg.in/yaml.v3"

	"fairlead.dev/shared/apperr"
)

// parse reads YAML, and returns the services in the order of the file beside
// it.
func parse(text string) (map[string]any, []string, error) {
	if len(text) > MaxText {
		return nil, nil, apperr.InvalidField("compose", nil, "is longer than %d KiB", MaxText>>10)
	}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	var document, more yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, nil, invalid(fmt.Errorf("no YAML: %w", err))
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, nil, apperr.InvalidField("compose", nil, "must be one document")
	}
	b := &budget{}
	if err := b.spend(&document, 0); err != nil {
		return nil, nil, err
	}
	var model map[string]any
	if err := document.Decode(&model); err != nil {
		return nil, nil, invalid(err)
	}
	return model, order(&document, model), nil
}

// budget is what a file has used of its limits.
type budget struct{ nodes, bytes int }

// spend counts a node and what is below it, aliases as often as they are used,
// and makes texts of timestamps, which Compose has none of.
func (b *budget) spend(n *yaml.Node, depth int) error {
	b.nodes++
	b.bytes += len(n.Value)
	switch {
	case b.nodes > maxNodes:
		return apperr.InvalidField("compose", nil, "has more than %d keys and values, aliases counted as often as they are used", maxNodes)
	case b.bytes > maxExpanded:
		return apperr.InvalidField("compose", nil, "is longer than %d KiB, aliases counted as often as they are used", maxExpanded>>10)
	case depth > maxDepth:
		return apperr.InvalidField("compose", nil, "is more than %d levels deep", maxDepth)
	case n.Kind == yaml.AliasNode:
		return b.spend(n.Alias, depth+1)
	case n.ShortTag() == "!!timestamp" || n.ShortTag() == "!!binary":
		n.Tag = "!!str"
	case !strings.HasPrefix(n.ShortTag(), "!!") && n.ShortTag() != "":
		return apperr.InvalidField("compose", n.Tag, "line %d: the tag %s is not supported", n.Line, n.Tag)
	}
	for _, inner := range n.Content {
		if err := b.spend(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// order returns the names of the services as they stand in the file; those that
// come by merge keys are last, by name.
func order(document *yaml.Node, model map[string]any) []string {
	services, _ := model["services"].(map[string]any)
	var names []string
	add := func(name string) {
		if _, found := services[name]; found && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range written(valueOf(document, "services")) {
		add(name)
	}
	var rest []string
	for name := range services {
		if !slices.Contains(names, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}

// valueOf returns the value of a key of a document.
func valueOf(document *yaml.Node, key string) *yaml.Node {
	if len(document.Content) == 0 {
		return nil
	}
	root := document.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == key {
			return root.Content[i+1]
		}
	}
	return nil
}

// written returns the keys of a mapping.
func written(n *yaml.Node) []string {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var keys []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		keys = append(keys, n.Content[i].Value)
	}
	return keys
}

const (
	// maxDollars bounds the variables of one text: defaults stand in each other,
	// and each level is looked through anew.
	maxDollars = 100
	// maxLine bounds a text that has variables, in bytes.
	maxLine = 64 << 10
)

// interpolate fills the variables in and returns those that have neither a
// value nor a default.
func interpolate(model map[string]any, variables map[string]string) (map[string]any, []string, error) {
	var missing []string
	total := 0
	lookup := func(name string) (string, bool) {
		value, found := variables[name]
		return value, found
	}
	// A variable with neither value nor default is empty, as in Compose; with an
	// empty default the library does not log it.
	plain := regexp.MustCompile(`\$\$|\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\}`)
	defaulted := func(written string) string {
		name := strings.Trim(written, "${}")
		if _, found := variables[name]; found || name == "" {
			return written
		}
		if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
		return "${" + name + ":-}"
	}
	substitute := func(text string, mapping template.Mapping) (string, error) {
		dollars := strings.Count(text, "$")
		switch {
		case dollars == 0:
		case dollars > maxDollars || len(text) > maxLine:
			return "", fmt.Errorf("a text has more than %d variables, or is longer than %d KiB", maxDollars, maxLine>>10)
		default:
			var err error
			text, err = template.Substitute(plain.ReplaceAllStringFunc(text, defaulted), mapping)
			if err != nil {
				return "", err
			}
		}
		if total += len(text); total > maxExpanded {
			return "", fmt.Errorf("with its variables the file is longer than %d KiB", maxExpanded>>10)
		}
		return text, nil
	}
	filled, err := interpolation.Interpolate(model, interpolation.Options{LookupValue: lookup, Substitute: substitute})
	if err != nil {
		return nil, nil, invalid(err)
	}
	slices.Sort(missing)
	return filled, missing, nil
}

// asItIs leaves a text.
func asItIs(text string, _ template.Mapping) (string, error) { return text, nil }

// portsOf counts the ports that the short forms of a service stand for.
func portsOf(list any) int {
	entries, _ := list.([]any)
	span := regexp.MustCompile(`([0-9]+)-([0-9]+)`)
	n := 0
	for _, entry := range entries {
		written, _ := entry.(string)
		widest := 1
		for _, r := range span.FindAllStringSubmatch(written, -1) {
			from, err1 := strconv.Atoi(r[1])
			to, err2 := strconv.Atoi(r[2])
			if err1 != nil || err2 != nil {
				return maxPorts + 1
			}
			widest = max(widest, to-from+1)
		}
		n = min(n+widest, maxPorts+1)
	}
	return n
}
