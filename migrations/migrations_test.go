package migrations_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"fairlead.dev/migrations"
)

// What needs a database is tested beside the controller's store, which can
// start one.

func TestEveryFileIsNumberedInOrderAndHasBothDirections(t *testing.T) {
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("found %d migrations, error %v", len(names), err)
	}
	shape := regexp.MustCompile(`^\d{5}_[a-z0-9_]+\.sql$`)
	for _, name := range names {
		if !shape.MatchString(name) {
			t.Errorf("%s: name a migration like 00042_what_it_does.sql", name)
		}
		content, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range []string{"-- +goose Up\n", "-- +goose Down\n"} {
			if strings.Count(string(content), mark) != 1 {
				t.Errorf("%s: want exactly one line %q", name, mark)
			}
		}
	}
}

func TestHashNamesTheSet(t *testing.T) {
	first, err := migrations.Hash()
	if err != nil {
		t.Fatal(err)
	}
	second, err := migrations.Hash()
	if err != nil {
		t.Fatal(err)
	}
	if first != second || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first) {
		t.Fatalf("hashes %q and %q: want the same 32 hexadecimal digits", first, second)
	}
}
