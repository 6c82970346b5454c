// Package table holds the routes of a node while they are served and changed:
// which route a request takes, which upstream gets it, and how many requests
// each upstream has under way.
package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/shared/durable"
	"fairlead.dev/shared/edgeapi"
)

// Table is the routes of a node. Every change is on the disk before it counts.
type Table struct {
	path string
	now  func() time.Time

	// changing keeps two changes from crossing; mu is held while what requests
	// see is changed, which takes no time.
	changing sync.Mutex
	mu       sync.Mutex
	// turns counts the picks; see backend.
	turns   uint64
	content content
	// hosts are the routes of each host, the longest path first.
	hosts map[string][]*edgeapi.Route
	// backends are the upstreams that routes have or requests are at, by id.
	backends map[string]*backend
}

// content is what is on the disk.
type content struct {
	Settings edgeapi.Settings           `json:"settings"`
	Owners   map[string][]edgeapi.Route `json:"owners"`
}

// Open reads the table from a file, which need not be there yet.
func Open(path string, now func() time.Time) (*Table, error) {
	t := &Table{path: path, now: now, backends: map[string]*backend{}}
	t.content.Owners = map[string][]edgeapi.Route{}
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the routes: %w", err)
	default:
		if err := json.Unmarshal(raw, &t.content); err != nil {
			return nil, fmt.Errorf("read the routes in %s (remove the file to begin without any): %w", path, err)
		}
		if t.content.Owners == nil {
			t.content.Owners = map[string][]edgeapi.Route{}
		}
	}
	t.index(t.content)
	return t, nil
}

// Set gives an owner its routes in place of those it had; none of them take
// the owner away. It fails with *edgeapi.ConflictError when another owner has
// one, and when the disk does not take them; then nothing has changed.
func (t *Table) Set(owner string, routes []edgeapi.Route) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	if conflict := edgeapi.Clash(t.content.Owners, owner, routes); conflict != nil {
		return conflict
	}
	next := content{Settings: t.content.Settings, Owners: maps.Clone(t.content.Owners)}
	if len(routes) == 0 {
		delete(next.Owners, owner)
	} else {
		next.Owners[owner] = routes
	}
	return t.become(next)
}

// Check reports what Set would.
func (t *Table) Check(owner string, routes []edgeapi.Route) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if conflict := edgeapi.Clash(t.content.Owners, owner, routes); conflict != nil {
		return conflict
	}
	return nil
}

// Configure changes the settings, and reports whether they are others now.
func (t *Table) Configure(s edgeapi.Settings) (changed bool, err error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	if s == t.content.Settings {
		return false, nil
	}
	return true, t.become(content{Settings: s, Owners: t.content.Owners})
}

// become writes what is next to the disk and makes it what requests see.
func (t *Table) become(next content) error {
	if err := write(t.path, next); err != nil {
		return fmt.Errorf("keep the routes: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.index(next)
	return nil
}

// index makes the lookups anew. Backends keep their counts.
func (t *Table) index(next content) {
	t.content = next
	t.hosts = map[string][]*edgeapi.Route{}
	named := map[string]bool{}
	for _, owner := range slices.Sorted(maps.Keys(next.Owners)) {
		for i := range next.Owners[owner] {
			r := &next.Owners[owner][i]
			t.hosts[r.Host] = append(t.hosts[r.Host], r)
			for _, u := range r.Upstreams {
				named[u.ID] = true
				if t.backends[u.ID] == nil {
					t.backends[u.ID] = &backend{}
				}
			}
		}
	}
	for _, list := range t.hosts {
		slices.SortStableFunc(list, func(a, b *edgeapi.Route) int { return len(b.Path) - len(a.Path) })
	}
	for id, b := range t.backends {
		if b.unused = !named[id]; b.unused && b.inFlight == 0 {
			delete(t.backends, id)
		}
	}
}

// Find returns the route of a request for a host and path. The host may have a
// port, which is not looked at.
func (t *Table) Find(host, path string) (edgeapi.Route, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(hostOnly(host), path)
	if r == nil {
		return edgeapi.Route{}, false
	}
	return *r, true
}

func (t *Table) find(host, path string) *edgeapi.Route {
	for _, list := range [][]*edgeapi.Route{t.hosts[host], t.hosts[""]} {
		for _, r := range list {
			if below(path, r.Path) {
				return r
			}
		}
	}
	return nil
}

// below reports whether a path is a route's or below it.
func below(path, route string) bool {
	if route == "/" || path == route {
		return true
	}
	return strings.HasPrefix(path, route) && path[len(route)] == '/'
}

// hostOnly is a Host header as routes have it.
func hostOnly(host string) string {
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:at]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// TLSHosts are the hosts that need a certificate, sorted.
func (t *Table) TLSHosts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var hosts []string
	for host, list := range t.hosts {
		if slices.ContainsFunc(list, func(r *edgeapi.Route) bool { return r.TLS }) {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Settings returns what Configure was given last.
func (t *Table) Settings() edgeapi.Settings {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.content.Settings
}

// State returns the routes by owner and the requests under way by upstream.
func (t *Table) State() edgeapi.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := edgeapi.State{Settings: t.content.Settings, Owners: maps.Clone(t.content.Owners), InFlight: map[string]int{}}
	for id, b := range t.backends {
		state.InFlight[id] = b.inFlight
	}
	return state
}

// write replaces a file; it is on the disk when write returns.
func write(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return durable.Replace(path, raw)
}
