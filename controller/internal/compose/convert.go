package compose

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

const noCounterpart = "has no counterpart in the container configuration"

// Convert says what a file becomes. Services of profiles that are not among
// those given are left out, as Compose does. Errors: Invalid when the file
// can't become a project whatever is left out of it.
func Convert(f File, profiles []string) (Plan, error) {
	r := &report{unsupported: slices.Clone(f.Unsupported), notes: slices.Clone(f.Notes)}
	c := &conversion{report: r, volumes: map[string]string{}, once: map[string]bool{}}
	c.top(f)
	var images []*built
	for _, d := range f.Services {
		if !included(d, profiles) {
			r.note(pointer("/services", d.Name), "left out: none of its profiles was asked for")
			continue
		}
		b, err := c.service(d)
		if err != nil {
			return Plan{}, err
		}
		if b != nil {
			images = append(images, b)
		}
	}
	if len(images) == 0 {
		return Plan{}, apperr.InvalidField("compose", nil, "no service is left that has an image")
	}
	names := map[string]string{}
	for _, b := range images {
		if other, taken := names[*b.Config.Name]; taken {
			return Plan{}, apperr.InvalidField("compose", b.Service, "the services %s and %s would both be called %s", other, b.Service, *b.Config.Name)
		}
		names[*b.Config.Name] = b.Service
	}
	ordered, err := c.order(images)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Name: c.name, Unsupported: r.unsupported, Notes: r.notes}
	for _, b := range ordered {
		if c.once[b.Service] {
			b.Config.ExpectedState = &spec.ExpectedState{State: spec.StateExited}
		}
		if err := spec.ValidateContainer("services."+b.Service, b.Config).Err(); err != nil {
			return Plan{}, apperr.InvalidField("compose", b.Service, "the service %s can't become the configuration of an image: %v", b.Service, err)
		}
		plan.Images = append(plan.Images, b.Image)
	}
	return plan, nil
}

// conversion is the state of one Convert.
type conversion struct {
	*report
	name string
	// networks are the names on the node by the names in the file.
	networks map[string]string
	// volumes are the services that have each named volume.
	volumes map[string]string
	// secrets are the names of the file's secrets.
	secrets map[string]bool
	// once holds the services that others wait for the end of.
	once map[string]bool
	// services are the names of all services of the file.
	services map[string]bool
}

// built is an image and the services that it waits for.
type built struct {
	Image
	after []dependency
}

type dependency struct {
	service, path string
	required      bool
}

func included(d Definition, profiles []string) bool {
	of := texts(d.Keys["profiles"])
	return len(of) == 0 || slices.ContainsFunc(of, func(p string) bool { return p == "*" || slices.Contains(profiles, p) }) ||
		slices.Contains(profiles, "*")
}

// top reads what is beside the services.
func (c *conversion) top(f File) {
	c.name = f.Name
	top := open(c.report, "", f.Top)
	c.networks = c.topNetworks(top)
	c.topVolumes(top)
	c.secrets = c.topSecrets(top)
	top.close(noCounterpart)
	c.services = map[string]bool{}
	for _, d := range f.Services {
		c.services[d.Name] = true
	}
}

func (c *conversion) topNetworks(top *section) map[string]string {
	names := map[string]string{"default": c.network("default")}
	list, _ := top.take("networks")
	all, _ := list.(map[string]any)
	for _, key := range keys(all) {
		n := open(c.report, pointer("/networks", key), all[key])
		name := n.text("name")
		external, _ := n.flag("external")
		switch {
		case name != "":
			names[key] = name
		case external:
			names[key] = key
		default:
			names[key] = c.network(key)
		}
		n.only("driver", "bridge")
		n.close("networks are made with the engine's defaults")
	}
	return names
}

// network is how Compose itself calls a network of the project.
func (c *conversion) network(key string) string { return label(c.name) + "_" + key }

func (c *conversion) topVolumes(top *section) {
	list, _ := top.take("volumes")
	all, _ := list.(map[string]any)
	for _, key := range keys(all) {
		v := open(c.report, pointer("/volumes", key), all[key])
		v.only("driver", "local")
		v.close("a volume belongs to one container of one deployment, and is made with the engine's defaults")
	}
}

func (c *conversion) topSecrets(top *section) map[string]bool {
	names := map[string]bool{}
	list, _ := top.take("secrets")
	all, _ := list.(map[string]any)
	for _, key := range keys(all) {
		names[key] = true
		s := open(c.report, pointer("/secrets", key), all[key])
		s.flag("external") // its value is entered in the instance, like that of all others
		s.close("the value of a secret is entered in the instances of a deployment")
	}
	return names
}

var notInLabels = regexp.MustCompile(`[^a-z0-9-]+`)

// label makes a DNS label of a name.
func label(name string) string {
	l := notInLabels.ReplaceAllString(strings.ToLower(name), "-")
	return strings.Trim(l[:min(len(l), spec.MaxNameLength)], "-")
}

// service converts one service; nil when it has no image.
func (c *conversion) service(d Definition) (*built, error) {
	s := open(c.report, pointer("/services", d.Name), d.Keys)
	s.take("profiles")
	written := s.text("image")
	if written == "" {
		if _, found := d.Keys["build"]; found {
			c.refuse(s.at("build"), "%s", reasonFor("build", ""))
		}
		c.refuse(s.path, "has no image, so it is left out")
		return nil, nil
	}
	named, err := reference.ParseNormalizedNamed(written)
	if err != nil {
		return nil, apperr.InvalidField("compose", written, "%s is not the name of an image: %v", s.at("image"), err)
	}
	name := label(d.Name)
	if name != d.Name {
		c.refuse(s.path, "names of containers are DNS labels: it is called %q, and others reach it by that name alone", name)
	}
	b := &built{Image: Image{Service: d.Name, Reference: reference.TagNameOnly(named).String()}}
	b.Config.Name = &name
	c.process(s, &b.Config)
	c.resources(s, &b.Config)
	c.ports(s, &b.Config)
	c.mounts(s, d.Name, &b.Config)
	c.serviceSecrets(s, &b.Config)
	c.attach(s, d.Name, &b.Config)
	b.after = c.dependencies(s)
	s.close(noCounterpart)
	return b, nil
}

// dependencies reads depends_on and links.
func (c *conversion) dependencies(s *section) []dependency {
	var after []dependency
	on := s.inner("depends_on")
	for _, name := range keys(on.values) {
		d := on.inner(name)
		required, said := d.flag("required")
		after = append(after, dependency{service: name, path: d.path, required: required || !said})
		switch condition := d.text("condition"); condition {
		case "", "service_started", "service_healthy":
		case "service_completed_successfully":
			c.once[name] = true
		default:
			c.refuse(d.at("condition"), "%q is not supported", condition)
		}
		if restart, _ := d.flag("restart"); restart {
			c.refuse(d.at("restart"), "a container is not restarted because another one is")
		}
		d.close(noCounterpart)
	}
	links, _ := s.take("links")
	for i, link := range texts(links) {
		name, alias, found := strings.Cut(link, ":")
		after = append(after, dependency{service: name, path: pointer(s.at("links"), i), required: true})
		if found && alias != name {
			c.refuse(pointer(s.at("links"), i), "others are reached by the names of their services alone")
		}
	}
	return after
}

// order sorts images so that each comes after those it depends on, and as in
// the file where nothing else is said.
func (c *conversion) order(images []*built) ([]*built, error) {
	known := map[string]*built{}
	for _, b := range images {
		known[b.Service] = b
	}
	for _, b := range images {
		for _, d := range b.after {
			if known[d.service] != nil || !d.required {
				continue
			}
			if !c.services[d.service] {
				return nil, apperr.InvalidField("compose", d.service, "%s names a service that is not in the file", d.path)
			}
			c.refuse(d.path, "the service %q is left out", d.service)
		}
	}
	var ordered []*built
	state := map[*built]int{} // 1: on the way, 2: in the list
	var visit func(b *built) error
	visit = func(b *built) error {
		switch state[b] {
		case 1:
			return apperr.InvalidField("compose", b.Service, "the service %s depends on itself by way of others", b.Service)
		case 2:
			return nil
		}
		state[b] = 1
		for _, d := range b.after {
			if next := known[d.service]; next != nil {
				if err := visit(next); err != nil {
					return err
				}
			}
		}
		state[b] = 2
		ordered = append(ordered, b)
		return nil
	}
	for _, b := range images {
		if err := visit(b); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}
