package teamapi_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/rest/teamapi"
)

// Every key of the documented API, and every one of ours, has a row that says
// what becomes of it.
func TestEveryKeyOfTheConfigurationIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.TrimSpace(cells[2]) == "" || strings.TrimSpace(cells[3]) == "" {
			continue
		}
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, key[1])
		}
	}
	var contract []string
	readJSON(t, "testdata/configuration_keys.json", &contract)
	for _, key := range contract {
		if !slices.Contains(documented, key) {
			t.Errorf("%s has no row in docs/configuration.md", key)
		}
	}
	config := reflect.TypeFor[teamapi.ContainerConfig]()
	for i := range config.NumField() {
		key, _, _ := strings.Cut(config.Field(i).Tag.Get("json"), ",")
		if !slices.ContainsFunc(documented, func(d string) bool { return d == key || strings.HasPrefix(d, key+".") }) {
			t.Errorf("%s has no row in docs/configuration.md", key)
		}
	}
}
