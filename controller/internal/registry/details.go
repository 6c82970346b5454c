package registry

import (
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"fairlead.dev/shared/apperr"
)

// Type is the kind of a registry; it decides how image references are made.
type Type string

// Types of registries.
const (
	V2        Type = "v2"        // any registry that speaks the distribution protocol
	Hub       Type = "hub"       // Docker Hub
	GitLab    Type = "gitlab"    // GitLab's own or a self-managed one
	GitHub    Type = "github"    // GitHub packages
	Google    Type = "google"    // Google container and artifact registry
	Unchecked Type = "unchecked" // any registry, never contacted by the controller
)

// Addresses of the registries that have no other.
const (
	hubHost    = "hub.docker.com" // shown to people; images come from docker.io
	gitLabHost = "registry.gitlab.com"
	gitLabAPI  = "gitlab.com"
	gitHubHost = "ghcr.io"
)

const maxAddressLength = 255

// Details say where a registry is. Which of them a registry has depends on its
// type.
type Details struct {
	Type Type
	// URL is host[:port][/path], without a scheme.
	URL string
	// APIURL is where a self-managed GitLab has its API; GitLab only.
	APIURL string
	// ImageNamePrefix is the organization, user, group or project of the
	// images; for hub, gitlab, github and google. A v2 or unchecked one may have
	// any path in its place.
	ImageNamePrefix string
	// Namespace is what the prefix names: group or project for GitLab,
	// organization or user for GitHub.
	Namespace string
}

// normalize checks the details, fills in the addresses that a type implies and
// drops what the type has not.
func (d Details) normalize() (Details, error) {
	n := Details{Type: d.Type}
	var err error
	switch d.Type {
	case V2, Unchecked:
		if d.Type == Unchecked {
			d.URL = withoutScheme(d.URL)
		}
		if n.URL, err = address("details.url", d.URL); err == nil && d.ImageNamePrefix != "" {
			n.ImageNamePrefix, err = d.prefix()
		}
	case Hub:
		n.URL = hubHost
		n.ImageNamePrefix, err = d.prefix()
	case Google:
		if n.URL, err = address("details.url", d.URL); err == nil {
			n.ImageNamePrefix, err = d.prefix()
		}
	case GitHub:
		n.URL = gitHubHost
		if n.Namespace, err = d.namespace("organization", "user"); err == nil {
			n.ImageNamePrefix, err = d.prefix()
		}
	case GitLab:
		n, err = d.normalizeGitLab()
	default:
		err = apperr.InvalidField("type", string(d.Type), "must be v2, hub, gitlab, github, google or unchecked")
	}
	return n, err
}

func (d Details) normalizeGitLab() (Details, error) {
	n := Details{Type: GitLab, URL: gitLabHost, APIURL: gitLabAPI}
	var err error
	if d.URL != "" {
		if n.URL, err = address("details.url", d.URL); err != nil {
			return n, err
		}
	}
	switch {
	case d.APIURL != "":
		if n.APIURL, err = address("details.apiUrl", d.APIURL); err != nil {
			return n, err
		}
	case n.URL != gitLabHost:
		return n, apperr.InvalidField("details.apiUrl", "", "is missing: a self-managed GitLab has its API at another address than its registry")
	}
	if n.Namespace, err = d.namespace("group", "project"); err != nil {
		return n, err
	}
	n.ImageNamePrefix, err = d.prefix()
	return n, err
}

// SamePlace reports whether both lead to the same images by the same names.
func (d Details) SamePlace(other Details) bool {
	a, errA := d.normalize()
	b, errB := other.normalize()
	return errA == nil && errB == nil && a == b
}

func (d Details) namespace(words ...string) (string, error) {
	if !slices.Contains(words, d.Namespace) {
		return "", apperr.InvalidField("details.namespace", d.Namespace, "must be %s", strings.Join(words, " or "))
	}
	return d.Namespace, nil
}

func (d Details) prefix() (string, error) {
	prefix := strings.Trim(d.ImageNamePrefix, "/")
	if prefix == "" {
		return "", apperr.InvalidField("details.imageNamePrefix", "", "is missing")
	}
	named, err := reference.ParseNormalizedNamed(anyHost + "/" + prefix)
	if err != nil || reference.Path(named) != prefix || !reference.IsNameOnly(named) || len(prefix) > maxAddressLength {
		return "", apperr.InvalidField("details.imageNamePrefix", prefix,
			"must be lower-case letters and digits, with '-', '_', '.' or '/' between them")
	}
	return prefix, nil
}

// address checks host[:port][/path]. A host without a dot or a port is refused
// because container engines take it for a name on Docker Hub.
func address(field, value string) (string, error) {
	value = strings.TrimSuffix(value, "/")
	if value == "" {
		return "", apperr.InvalidField(field, "", "is missing")
	}
	if withoutScheme(value) != value {
		return "", apperr.InvalidField(field, value, "leave out the scheme: host[:port][/path]")
	}
	host, _, _ := strings.Cut(value, "/")
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "", apperr.InvalidField(field, value, "the host needs a dot or a port, or engines take it for a name on Docker Hub")
	}
	named, err := reference.ParseNormalizedNamed(value + "/image")
	if err != nil || !reference.IsNameOnly(named) || len(value) > maxAddressLength || !validPort(host) {
		return "", apperr.InvalidField(field, value, "must be host[:port][/path]")
	}
	return value, nil
}

func validPort(host string) bool {
	i := strings.LastIndex(host, ":")
	if i < 0 || strings.HasSuffix(host, "]") { // no port, or the colons of an IPv6 address
		return true
	}
	port, err := strconv.ParseUint(host[i+1:], 10, 16)
	return err == nil && port > 0
}

// withoutScheme strips http:// and https://, in any case.
func withoutScheme(value string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
			return value[len(scheme):]
		}
	}
	return value
}
