package compose

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/shared/spec"
)

// process converts what is said about the container's main process.
func (c *conversion) process(s *section, to *spec.Container) {
	env, _ := s.take("environment")
	for _, p := range pairs(env) {
		if !p.said {
			c.note(pointer(s.at("environment"), p.key), "has no value here, and is left out")
			continue
		}
		to.Environment = append(to.Environment, keyValue(len(to.Environment), p.key, p.value))
	}
	labels, _ := s.take("labels")
	for i, p := range pairs(labels) {
		to.DockerLabels = append(to.DockerLabels, keyValue(i, p.key, p.value))
	}
	to.Commands = c.words(s, "entrypoint")
	to.Args = c.words(s, "command")
	if dir := s.text("working_dir"); dir != "" {
		to.WorkingDirectory = &dir
	}
	if tty, said := s.flag("tty"); said {
		to.TTY = &tty
	}
	c.user(s, to)
	c.restart(s, to)
	for _, change := range []struct{ key, value string }{{"cap_add", "add"}, {"cap_drop", "drop"}} {
		list, _ := s.take(change.key)
		for i, name := range texts(list) {
			if slices.ContainsFunc(to.Capabilities, func(kv spec.KeyValue) bool { return kv.Key == name }) {
				c.refuse(pointer(s.at(change.key), i), "the capability %s is there twice", name)
				continue
			}
			to.Capabilities = append(to.Capabilities, keyValue(len(to.Capabilities), name, change.value))
		}
	}
	c.logging(s, to)
}

func (c *conversion) words(s *section, key string) []spec.Key {
	v, said := s.take(key)
	list := texts(v)
	if said && len(list) == 0 {
		c.refuse(s.at(key), "the image's own can be replaced, and not emptied")
	}
	var words []spec.Key
	for i, word := range list {
		words = append(words, spec.Key{ID: id(i), Key: word})
	}
	return words
}

func (c *conversion) user(s *section, to *spec.Container) {
	written := s.text("user")
	if written == "" {
		return
	}
	user, group, found := strings.Cut(written, ":")
	number, err := strconv.ParseInt(user, 10, 32)
	if err != nil || number < 0 {
		c.refuse(s.at("user"), "%q: users are numbers", written)
		return
	}
	to.User = &number
	if found {
		c.refuse(s.at("user"), "the group %q can't be set, the user %d is", group, number)
	}
}

func (c *conversion) restart(s *section, to *spec.Container) {
	policy, count, _ := strings.Cut(s.text("restart"), ":")
	var p spec.RestartPolicy
	switch policy {
	case "", "no", "false":
		p = spec.RestartNo
	case "always":
		p = spec.RestartAlways
	case "unless-stopped":
		p = spec.RestartUnlessStopped
	case "on-failure":
		p = spec.RestartOnFailure
		if count != "" {
			c.refuse(s.at("restart"), "a failed container is restarted without a limit, not %s times", count)
		}
	default:
		c.refuse(s.at("restart"), "%q is not supported", policy)
		return
	}
	to.RestartPolicy = &p
}

func (c *conversion) logging(s *section, to *spec.Container) {
	if _, said := s.values["logging"]; !said {
		return
	}
	l := s.inner("logging")
	driver := spec.LogDriver(l.text("driver"))
	if driver == "" {
		driver = "json-file" // what the engine has unless it is told otherwise
	}
	options := l.inner("options")
	if !slices.Contains(driver.Values(), driver) {
		c.refuse(l.at("driver"), "%q is not supported", string(driver))
		return
	}
	to.LogConfig = &spec.LogConfig{Driver: driver}
	for i, p := range pairs(options.values) {
		to.LogConfig.Options = append(to.LogConfig.Options, keyValue(i, p.key, p.value))
	}
	l.close(noCounterpart)
}

// serviceSecrets makes a required secret, a file in the container, of each.
func (c *conversion) serviceSecrets(s *section, to *spec.Container) {
	list, _ := s.take("secrets")
	all, _ := list.([]any)
	for i, item := range all {
		m := open(c.report, pointer(s.at("secrets"), i), item)
		source, target := m.text("source"), m.text("target")
		m.close("secrets are files of mode 0400 of the container's user")
		if !c.secrets[source] {
			c.refuse(m.path, "the file has no secret %q", source)
			continue
		}
		if target == "" {
			target = source
		}
		target = strings.TrimPrefix(target, spec.SecretFolder+"/")
		if strings.Contains(target, "/") {
			c.refuse(m.at("target"), "secrets are files of the folder %s", spec.SecretFolder)
			continue
		}
		to.Secrets = append(to.Secrets, spec.Secret{ID: id(i), Key: spec.SecretFolder + "/" + target, Required: true})
	}
}

func keyValue(i int, key, value string) spec.KeyValue {
	return spec.KeyValue{ID: id(i), Key: key, Value: value}
}

// id is that of an entry of a list.
func id(i int) string { return strconv.Itoa(i + 1) }
