// Package edgeapi is what a Docker agent and the edge proxy of its node say to
// each other: JSON over HTTP on a Unix socket that only the two can open.
//
// The edge holds the routes, on its disk too, and serves on without an agent.
// Routes belong to owners, the prefixes of deployments; an owner's are always
// set all at once.
package edgeapi

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// What the edge answers to. An owner is one path segment.
const (
	// PathHealth answers GET with 204 when requests are served.
	PathHealth = "/v1/health"
	// PathRoutes answers GET with State, and PUT and DELETE below it, by
	// owner, set the owner's routes: PUT takes Routes. A route that another
	// owner has is answered with 409 and Refusal. With ?check=true nothing is
	// set, only said whether it could be.
	PathRoutes = "/v1/routes"
	// PathSettings takes PUT with Settings.
	PathSettings = "/v1/settings"
	// PathDrain answers POST of Drain with Drained, when it is over.
	PathDrain = "/v1/drain"
)

// SocketName is the socket's file in the folder that the two share.
const SocketName = "admin.sock"

// Settings are what holds for all routes.
type Settings struct {
	// ACMEEmail is told to the certificate authority; may be empty.
	ACMEEmail string `json:"acmeEmail,omitempty"`
	// ACMEDirectory is the authority's directory; empty means Let's Encrypt.
	ACMEDirectory string `json:"acmeDirectory,omitempty"`
	// ACMERoots are roots, as PEM, that the directory is trusted by besides
	// the usual ones.
	ACMERoots string `json:"acmeRoots,omitempty"`
}

// Routes are those of one owner.
type Routes struct {
	Routes []Route `json:"routes"`
}

// Route sends the requests for a host and what is below a path to upstreams.
type Route struct {
	// Name is whose route it is, for messages: the workload's.
	Name string `json:"name"`
	// Host in lower case, without a port; empty means any that no other route
	// names.
	Host string `json:"host,omitempty"`
	// Path is "/" or a path without a slash at the end; it stands for itself
	// and everything below.
	Path string `json:"path"`
	// StripPath takes Path off what the upstream sees.
	StripPath bool `json:"stripPath,omitempty"`
	// TLS has a certificate gotten for Host, and sends plain requests on to https.
	TLS bool `json:"tls,omitempty"`
	// MaxBody is how large a request's body may be, in bytes; 0 means as large
	// as it likes.
	MaxBody int64 `json:"maxBody,omitempty"`
	// CORS lets pages of other origins send requests.
	CORS *CORS `json:"cors,omitempty"`
	// Upstreams share the requests. Without any, requests are answered with 503.
	Upstreams []Upstream `json:"upstreams"`
}

// CORS says what pages of other origins may send.
type CORS struct {
	// AllowHeaders are the names of request headers that they may send.
	AllowHeaders []string `json:"allowHeaders,omitempty"`
}

// Upstream is one container.
type Upstream struct {
	// ID is the container's.
	ID string `json:"id"`
	// Host is the container's name on the network that the edge has in common
	// with it. It is looked up for every new connection.
	Host string `json:"host"`
	// Address is the IP address that Host had when it was last looked at. It
	// is used while no name server answers, as when the engine is away.
	Address string `json:"address,omitempty"`
	Port    int    `json:"port"`
	// Unhealthy upstreams get requests only when there are no others.
	Unhealthy bool `json:"unhealthy,omitempty"`
}

// Drain asks to be told when upstreams have no request under way any more.
type Drain struct {
	// Upstreams are named by ID.
	Upstreams []string `json:"upstreams"`
	// WithinMillis bounds the wait.
	WithinMillis int64 `json:"withinMillis"`
}

// Drained is the end of a Drain.
type Drained struct {
	// Left is how many requests were still under way.
	Left int `json:"left"`
}

// State is everything the edge knows.
type State struct {
	Version  string              `json:"version"`
	Settings Settings            `json:"settings"`
	Owners   map[string][]Route  `json:"owners"`
	InFlight map[string]int      `json:"inFlight"`
	Certs    map[string]CertInfo `json:"certificates"`
}

// CertInfo is how it is with the certificate of a host.
type CertInfo struct {
	// NotAfter is when the certificate ends, RFC 3339; empty while there is none.
	NotAfter string `json:"notAfter,omitempty"`
	// Problem is why it could not be gotten or renewed the last time.
	Problem string `json:"problem,omitempty"`
}

// Refusal is the body of every answer that is not a success.
type Refusal struct {
	Message string `json:"message"`
	// Owner is who has what was asked for, with 409.
	Owner string `json:"owner,omitempty"`
}

// ConflictError says that another owner, or another route of the same owner,
// has a host and path.
type ConflictError struct {
	Route Route
	// Owner and Name are whose it is.
	Owner, Name string
}

func (e *ConflictError) Error() string {
	host := e.Route.Host
	if host == "" {
		host = "any host"
	}
	return fmt.Sprintf("%s with path %s is served by %s under prefix %s", host, e.Route.Path, e.Name, e.Owner)
}

var (
	hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// Validate reports what of a route cannot be served.
func (r Route) Validate() error {
	if r.Host != "" && (len(r.Host) > 253 || !hostPattern.MatchString(r.Host)) {
		return fmt.Errorf("host %q: must be a host name in lower case, without a port", r.Host)
	}
	if err := ValidatePath(r.Path); err != nil {
		return err
	}
	if r.TLS && (r.Host == "" || net.ParseIP(r.Host) != nil) {
		return fmt.Errorf("host %q: a certificate needs a host name", r.Host)
	}
	if r.MaxBody < 0 {
		return fmt.Errorf("maxBody: must not be negative")
	}
	if r.CORS != nil {
		for _, h := range r.CORS.AllowHeaders {
			if !headerName.MatchString(h) {
				return fmt.Errorf("allowHeaders: %q is not the name of a header", h)
			}
		}
	}
	for _, u := range r.Upstreams {
		if u.ID == "" || u.Host == "" && u.Address == "" {
			return fmt.Errorf("upstream %q: must have an id and a host or an address", u.ID)
		}
		if u.Port < 1 || u.Port > 65535 {
			return fmt.Errorf("upstream %s: port must be 1 to 65535", u.ID)
		}
	}
	return nil
}

// ValidatePath reports what is wrong with the path of a route.
func ValidatePath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("path %q: must begin with /", path)
	case path != "/" && strings.HasSuffix(path, "/"), strings.Contains(path, "//"):
		return fmt.Errorf("path %q: must have no empty part", path)
	case strings.ContainsAny(path, "?#\\%`"), strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("path %q: must be plain, without ?, #, %%, \\, ` and white space", path)
	case slices.Contains(strings.Split(path, "/"), ".."), slices.Contains(strings.Split(path, "/"), "."):
		return fmt.Errorf("path %q: must have neither . nor .. for a part", path)
	}
	return nil
}

// Clash returns the route of the owners that has the same host and path as one
// of an owner's own, or of two of the owner's.
func Clash(owners map[string][]Route, owner string, routes []Route) *ConflictError {
	for i, r := range routes {
		same := func(o Route) bool { return o.Host == r.Host && o.Path == r.Path }
		if at := slices.IndexFunc(routes[:i], same); at >= 0 {
			return &ConflictError{Route: r, Owner: owner, Name: routes[at].Name}
		}
		for other, list := range owners {
			if at := slices.IndexFunc(list, same); other != owner && at >= 0 {
				return &ConflictError{Route: r, Owner: other, Name: list[at].Name}
			}
		}
	}
	return nil
}
