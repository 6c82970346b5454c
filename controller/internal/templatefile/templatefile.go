// Package templatefile reads the templates that come with the controller: for
// each a JSON file and an SVG icon in the folder data. A container's
// configuration is written in the JSON form of its message in the agent
// protocol, like everywhere it is kept.
package templatefile

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/template"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
)

//go:embed data
var data embed.FS

// Library is a fixed list of templates, by id.
type Library struct{ list []template.Template }

// BuiltIn returns the templates that come with the controller.
func BuiltIn() (*Library, error) {
	folder, err := fs.Sub(data, "data")
	if err != nil {
		return nil, fmt.Errorf("open the templates: %w", err)
	}
	return Read(folder)
}

// Read reads every template of a folder. It fails on the first one that is not
// valid.
func Read(folder fs.FS) (*Library, error) {
	files, err := fs.Glob(folder, "*.json")
	if err != nil {
		return nil, fmt.Errorf("list the templates: %w", err)
	}
	l := &Library{}
	for _, name := range files {
		t, err := read(folder, name)
		if err != nil {
			return nil, fmt.Errorf("read the template %s: %w", name, err)
		}
		l.list = append(l.list, t)
	}
	return l, nil
}

// List returns all templates by id.
func (l *Library) List() []template.Template { return slices.Clone(l.list) }

// Find returns one template.
func (l *Library) Find(id string) (template.Template, bool) {
	at := slices.IndexFunc(l.list, func(t template.Template) bool { return t.ID == id })
	if at < 0 {
		return template.Template{}, false
	}
	return l.list[at], true
}

type file struct {
	Name         string         `json:"name"`
	Description  string         `json:"description"`
	Technologies []string       `json:"technologies"`
	Registries   []registryFile `json:"registries"`
	Images       []imageFile    `json:"images"`
}

type registryFile struct {
	Name            string        `json:"name"`
	Type            registry.Type `json:"type"`
	URL             string        `json:"url"`
	ImageNamePrefix string        `json:"imageNamePrefix"`
}

type imageFile struct {
	Registry string          `json:"registry"`
	Image    string          `json:"image"`
	Config   json.RawMessage `json:"config"`
}

func read(folder fs.FS, name string) (template.Template, error) {
	content, err := fs.ReadFile(folder, name)
	if err != nil {
		return template.Template{}, err
	}
	var f file
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return template.Template{}, err
	}
	id := strings.TrimSuffix(path.Base(name), ".json")
	icon, err := fs.ReadFile(folder, id+".svg")
	if err != nil {
		return template.Template{}, err
	}
	if f.Name == "" || f.Description == "" || len(f.Images) == 0 || len(f.Technologies) == 0 {
		return template.Template{}, fmt.Errorf("name, description, technologies and images must be there")
	}
	t := template.Template{ID: id, Name: f.Name, Description: f.Description, Technologies: f.Technologies, Icon: icon}
	for _, r := range f.Registries {
		t.Registries = append(t.Registries, template.Registry{Name: r.Name, Details: registry.Details{
			Type: r.Type, URL: r.URL, ImageNamePrefix: r.ImageNamePrefix,
		}})
	}
	for i, from := range f.Images {
		image, err := from.image(t.Registries)
		if err != nil {
			return template.Template{}, fmt.Errorf("images[%d]: %w", i, err)
		}
		t.Images = append(t.Images, image)
	}
	return t, nil
}

func (f imageFile) image(registries []template.Registry) (template.Image, error) {
	known := slices.ContainsFunc(registries, func(r template.Registry) bool { return r.Name == f.Registry })
	if !known {
		return template.Image{}, fmt.Errorf("the registry %q is none of the template's", f.Registry)
	}
	if _, _, err := registry.ParseImage(f.Image); err != nil {
		return template.Image{}, err
	}
	message := &agentv1.ContainerConfig{}
	if err := protojson.Unmarshal(f.Config, message); err != nil {
		return template.Image{}, err
	}
	config, err := specpb.ContainerFromProto(message)
	if err != nil {
		return template.Image{}, err
	}
	return template.Image{Registry: f.Registry, Reference: f.Image, Config: config}, spec.ValidateContainer("config", config).Err()
}
