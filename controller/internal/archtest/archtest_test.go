// Package archtest_test holds the import graph to the dependency rule of
// docs/architecture.md: what a linter sees one file at a time, here over whole
// chains of imports. A package nobody put into a list below is a domain package
// and held to the strictest rule.
package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	product  = "fairlead.dev/"
	internal = "fairlead.dev/controller/internal/"
)

// edges are the packages below controller/internal that are no domain
// packages, each with those of the others it may use.
func edges() map[string][]string {
	return map[string][]string{
		"app":           {"rest", "agentrpc", "postgres", "dispatch", "wake", "artifact", "keys", "config", "pgserver", "webhook", "templatefile", "oidc", "outbound", "replica", "registrycheck", "smtp", "composefile"},
		"rest":          {},
		"agentrpc":      {"dispatch", "wake", "bulkpb"},
		"replica":       {"bulkpb"}, // the controllers on one database call each other
		"bulkpb":        {},
		"dispatch":      {"wake"},
		"postgres":      {},
		"wake":          {},
		"artifact":      {}, // renders install scripts from the archives it serves, brings those to registries
		"keys":          {},
		"oidc":          {"outbound"}, // asks identity providers
		"outbound":      {},
		"registrycheck": {"outbound"}, // asks live registries
		"webhook":       {"outbound"}, // calls the receivers of notifications
		"smtp":          {},           // hands e-mails to a mail server
		"templatefile":  {},           // reads the templates that come with the program
		"composefile":   {},           // reads Compose files
		"config":        {},
		"pgserver":      {},
		"archtest":      {},
	}
}

// foreign are the formats that no domain package may reach, not even through
// another package.
func foreign() []string {
	return []string{
		"github.com/gin-gonic/gin", "github.com/danielgtaylor/huma", "net/http",
		"gorm.io", "github.com/jackc/pgx", "database/sql",
		"google.golang.org/grpc", "google.golang.org/protobuf", "fairlead.dev/protobuf",
	}
}

// domainShared are the shared packages that domain packages may use.
func domainShared() []string {
	return []string{"apperr", "spec", "workload"}
}

// modules says for each module which others its production code must not use.
func modules() map[string][]string {
	agents := []string{"controller", "migrations", "install-scripts", "e2e"}
	return map[string][]string{
		"protobuf":        {"shared", "controller", "dagent", "crane", "migrations", "install-scripts", "e2e"},
		"shared":          {"controller", "dagent", "crane", "migrations", "install-scripts", "e2e"},
		"dagent":          append([]string{"crane", "edge"}, agents...),
		"edge":            append([]string{"dagent", "crane", "protobuf"}, agents...),
		"crane":           append([]string{"dagent"}, agents...),
		"controller":      {"dagent", "crane", "edge", "shared/agentrt", "e2e"},
		"migrations":      {"controller", "dagent", "crane", "e2e"},
		"install-scripts": {"controller", "dagent", "crane", "e2e"},
	}
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// graph is every package that the workspace's programs and libraries consist
// of, by import path.
type graph map[string]goPackage

func list(t *testing.T) graph {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports", product+"...")
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &complaint)
	}
	g := graph{}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p
	}
	for _, needed := range []string{internal + "app", internal + "deployment", product + "shared/agentrt", product + "dagent/cmd/dagent"} {
		if _, found := g[needed]; !found {
			t.Fatalf("go list does not know %s: the rules below would prove nothing", needed)
		}
	}
	return g
}

// within reports whether a package is the given one or below it. An interface
// that types implement to be stored does not count as SQL.
func within(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/") && pkg != "database/sql/driver"
}

// part returns the name of a package's part below controller/internal, e.g.
// rest for …/internal/rest/teamapi.
func part(pkg string) (string, bool) {
	rest, found := strings.CutPrefix(pkg, internal)
	name, _, _ := strings.Cut(rest, "/")
	return name, found
}

// helper reports whether a package exists for tests.
func helper(pkg string) bool { return strings.HasSuffix(path.Base(pkg), "test") }

// domain reports whether a package is a domain package of the controller.
func domain(pkg string) bool {
	name, found := part(pkg)
	_, edge := edges()[name]
	return found && !edge && !helper(pkg)
}

// chain returns how from comes to import something within target: the packages
// on the way, or nil. Chains that pass a package more than once are not
// followed.
func (g graph) chain(from, target string, seen map[string]bool) []string {
	if within(from, target) {
		return []string{from}
	}
	if seen[from] || g[from].Standard {
		return nil
	}
	seen[from] = true
	for _, next := range g[from].Imports {
		if rest := g.chain(next, target, seen); rest != nil {
			return append([]string{from}, rest...)
		}
	}
	return nil
}

func TestDomainReachesNoFormat(t *testing.T) {
	g := list(t)
	for name := range g {
		if !domain(name) {
			continue
		}
		for _, target := range foreign() {
			if chain := g.chain(name, target, map[string]bool{}); chain != nil {
				t.Errorf("a domain package knows no %s:\n\t%s", target, strings.Join(chain, "\n\timports "))
			}
		}
	}
}

func TestDomainUsesDomainAndPlainPackages(t *testing.T) {
	for name, p := range list(t) {
		if !domain(name) {
			continue
		}
		for _, to := range p.Imports {
			if in, found := part(to); found && !domain(to) {
				t.Errorf("%s imports %s: a domain package does not know the edge %s", name, to, in)
			}
			if shared, found := strings.CutPrefix(to, product+"shared/"); found && !slices.Contains(domainShared(), shared) {
				t.Errorf("%s imports %s: of shared, domain packages use %s", name, to, strings.Join(domainShared(), ", "))
			}
		}
	}
}

func TestEdgesUseNoOtherEdges(t *testing.T) {
	for name, p := range list(t) {
		from, found := part(name)
		allowed, edge := edges()[from]
		if !found || !edge || helper(name) {
			continue
		}
		for _, to := range p.Imports {
			target, found := part(to)
			if _, edge := edges()[target]; !found || !edge || target == from {
				continue
			}
			if !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s: %s may use of the edges only %q", name, to, from, allowed)
			}
		}
	}
}

func TestModulesPointOneWay(t *testing.T) {
	g := list(t)
	for name, p := range g {
		if helper(name) {
			continue // tests of one side run the other
		}
		module, _, _ := strings.Cut(strings.TrimPrefix(name, product), "/")
		for _, forbidden := range modules()[module] {
			for _, to := range p.Imports {
				if within(to, product+forbidden) {
					t.Errorf("%s imports %s: %s does not know %s", name, to, module, forbidden)
				}
			}
		}
	}
}

func TestProductionUsesNoTestPackage(t *testing.T) {
	for name, p := range list(t) {
		if !strings.HasPrefix(name, product) || strings.HasPrefix(name, product+"e2e/") || helper(name) {
			continue
		}
		for _, to := range p.Imports {
			if to == "testing" || strings.HasPrefix(to, product) && helper(to) {
				t.Errorf("%s imports %s, which is for tests", name, to)
			}
		}
	}
}

// TestDomainTypesCarryNoTags reads the sources themselves; it also makes the
// go command run these tests again when one of them changes.
func TestDomainTypesCarryNoTags(t *testing.T) {
	const root = ".."
	read := 0
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		below, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil || !domain(internal+filepath.ToSlash(below)) {
			return err
		}
		read++
		set := token.NewFileSet()
		source, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(source, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				t.Errorf("%s: a field of a domain type has the tag %s; formats live at the edges", set.Position(field.Pos()), field.Tag.Value)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read == 0 {
		t.Error("found no domain package to read")
	}
}
