package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"fairlead.dev/dagent/internal/docker"
)

// policySettings are the settings of what deployments may ask of this host, as
// text.
type policySettings struct {
	hostPaths, capabilities   *string
	hostNetwork, localStorage *string
}

func policyFlags(flags *flag.FlagSet, getenv func(string) string) policySettings {
	text := func(name, variable, usage string) *string {
		return flags.String(name, getenv(variable), usage+" ("+variable+")")
	}
	return policySettings{
		hostPaths:    text("allow-host-paths", "DAGENT_ALLOW_HOST_PATHS", "host folders that containers may mount, separated by ':'"),
		hostNetwork:  text("allow-host-network", "DAGENT_ALLOW_HOST_NETWORK", "true lets containers share the host's network"),
		capabilities: text("allow-capabilities", "DAGENT_ALLOW_CAPABILITIES", "capabilities that containers may add, separated by ','; ALL is all"),
		localStorage: text("allow-local-storage", "DAGENT_ALLOW_LOCAL_STORAGE", "true lets volumes be filled from storages at this host's own addresses"),
	}
}

func (s policySettings) policy() (p docker.Policy, err error) {
	for _, path := range strings.FieldsFunc(*s.hostPaths, func(r rune) bool { return r == ':' }) {
		if !filepath.IsAbs(path) {
			return p, fmt.Errorf("allow-host-paths: %q must be absolute", path)
		}
		p.HostPaths = append(p.HostPaths, filepath.Clean(path))
	}
	p.Capabilities = append(p.Capabilities, strings.FieldsFunc(*s.capabilities, func(r rune) bool { return r == ',' || r == ' ' })...)
	if err := docker.CheckCapabilities(p.Capabilities); err != nil {
		return p, fmt.Errorf("allow-capabilities: %w", err)
	}
	if p.HostNetwork, err = truth("allow-host-network", *s.hostNetwork); err != nil {
		return p, err
	}
	p.LocalStorage, err = truth("allow-local-storage", *s.localStorage)
	return p, err
}

// truth reads true or false; nothing is false.
func truth(name, text string) (bool, error) {
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s: %q is neither true nor false", name, text)
	}
	return value, nil
}
