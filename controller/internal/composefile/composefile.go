// Package composefile reads Compose files by the library that Compose itself
// is made of. It reaches nothing but the text and the variables it is given: no
// file, no environment of the process and no network.
package composefile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/mattn/go-shellwords"

	"fairlead.dev/controller/internal/compose"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Limits of a file. They bound what reading one costs.
const (
	// MaxText bounds the text, in bytes.
	MaxText = 256 << 10
	// maxNodes bounds the keys and values of a file, aliases counted as often as
	// they are used.
	maxNodes = 20_000
	// maxExtended bounds what services that extend others may make of that.
	maxExtended = 3 * maxNodes
	// maxDepth bounds how deep they are in each other.
	maxDepth = 50
	// maxExpanded bounds the text of all aliases and variables, in bytes.
	maxExpanded = 1 << 20
	// maxPorts bounds the ports that ranges stand for.
	maxPorts = 5_000
)

// Reader reads Compose files.
type Reader struct{}

// Read implements compose.Reader.
func (Reader) Read(ctx context.Context, text string, variables map[string]string) (compose.File, error) {
	model, order, err := parse(text)
	if err != nil {
		return compose.File{}, err
	}
	f := compose.File{}
	model, missing, err := interpolate(model, variables)
	if err != nil {
		return compose.File{}, err
	}
	for _, name := range missing {
		f.Notes = append(f.Notes, compose.Finding{Path: "", Reason: fmt.Sprintf("the variable %s has no value and no default: it is empty", name)})
	}
	if f.Unsupported, err = prepare(model); err != nil {
		return compose.File{}, err
	}
	if _, found := model["version"]; found {
		delete(model, "version") // the library would log that it has no meaning
		f.Notes = append(f.Notes, compose.Finding{Path: "/version", Reason: "has no meaning any more"})
	}
	model, err = load(ctx, model, variables)
	if err != nil {
		return compose.File{}, invalid(err)
	}
	f.Name, _ = model["name"].(string)
	services, _ := model["services"].(map[string]any)
	for _, name := range order {
		keys, _ := services[name].(map[string]any)
		if err := words(name, keys); err != nil {
			return compose.File{}, err
		}
		f.Services = append(f.Services, compose.Definition{Name: name, Keys: keys})
	}
	delete(model, "name")
	delete(model, "services")
	f.Top = model
	return f, nil
}

// prepare takes out of a file what would make the library open other files, or
// do more work than a file is worth.
func prepare(model map[string]any) ([]compose.Finding, error) {
	var findings []compose.Finding
	services, _ := model["services"].(map[string]any)
	if len(services) > spec.MaxWorkloads {
		return nil, apperr.InvalidField("compose", len(services), "at most %d services", spec.MaxWorkloads)
	}
	ports, extended := 0, 0
	for _, name := range slices.Sorted(maps.Keys(services)) {
		service, ok := services[name].(map[string]any)
		if !ok {
			return nil, apperr.InvalidField("compose", name, "the service %s is no mapping", name)
		}
		ports += portsOf(service["ports"])
		extends, found := service["extends"]
		if !found {
			continue
		}
		if m, ok := extends.(map[string]any); ok && m["file"] != nil {
			delete(service, "extends")
			findings = append(findings, compose.Finding{
				Path:   "/services/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name) + "/extends/file",
				Reason: "other files can't be read here: write their content into this one",
			})
			continue
		}
		switch extends.(type) {
		case string, map[string]any:
			extended++
		default:
			return nil, apperr.InvalidField("compose", name, "extends of the service %s names no service", name)
		}
	}
	if ports *= 1 + extended; ports > maxPorts {
		return nil, apperr.InvalidField("compose", ports, "the ranges of ports stand for more than %d ports", maxPorts)
	}
	if nodes := count(services) * (1 + extended); extended > 0 && nodes > maxExtended {
		return nil, apperr.InvalidField("compose", nodes, "services that extend others make the file larger than %d keys and values", maxExtended)
	}
	for _, key := range []string{"networks", "volumes", "secrets", "configs"} {
		list, _ := model[key].(map[string]any)
		for _, item := range list {
			plainExternal(item)
		}
	}
	return findings, nil
}

// plainExternal writes the deprecated form of an external name as the present
// one, since the library would log it.
func plainExternal(item any) {
	m, _ := item.(map[string]any)
	if external, ok := m["external"].(map[string]any); ok {
		if name, found := external["name"]; found && m["name"] == nil {
			m["name"] = name
		}
		m["external"] = true
	}
}

// count returns the number of values in a tree.
func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			n += 1 + count(inner)
		}
	case []any:
		for _, inner := range v {
			n += count(inner)
		}
	}
	return n
}

// load completes a file by Compose's own rules. The project's name is given,
// and so is the content: the library opens no file.
func load(ctx context.Context, model map[string]any, variables map[string]string) (result map[string]any, err error) {
	// The library is not made for files that want to do harm.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file can't be read: %v", p)
		}
	}()
	details := types.ConfigDetails{
		WorkingDir:  "/",
		ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Config: model}},
		Environment: maps.Clone(variables),
	}
	return loader.LoadModelWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName("project", true)
		o.SkipInclude = true
		o.SkipNormalization = true
		o.ResolvePaths = false
		o.SkipResolveEnvironment = true
		o.ResourceLoaders = []loader.ResourceLoader{nothing{}}
		// Variables are filled in already; what is left is to make numbers of texts.
		o.Interpolate.Substitute = asItIs
	})
}

// nothing takes every resource upon itself and has none.
type nothing struct{}

func (nothing) Accept(string) bool { return true }
func (nothing) Dir(string) string  { return "/" }
func (nothing) Load(_ context.Context, path string) (string, error) {
	return "", fmt.Errorf("other files, such as %s, can't be read here", path)
}

// words splits commands that are one line as Compose does.
func words(service string, keys map[string]any) error {
	for _, key := range []string{"command", "entrypoint"} {
		line, ok := keys[key].(string)
		if !ok {
			continue
		}
		split, err := shellwords.Parse(line)
		if err != nil {
			return apperr.InvalidField("compose", line, "%s of the service %s can't be split into words: %v", key, service, err)
		}
		list := make([]any, len(split))
		for i, word := range split {
			list[i] = word
		}
		keys[key] = list
	}
	return nil
}

// maxMessage bounds what an error repeats of a file.
const maxMessage = 500

func invalid(err error) error {
	message := err.Error()
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return apperr.InvalidField("compose", nil, "is not a Compose file: %s", message)
}
