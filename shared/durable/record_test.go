package durable_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fairlead.dev/shared/durable"
)

type start struct {
	At    time.Time `json:"at"`
	Count int       `json:"count,omitempty"`
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "starts.json")
	record := durable.NewRecord[map[string]start](path, "starts")
	if loaded, err := record.Load(); err != nil || loaded != nil {
		t.Errorf("without a file there are %v: %v", loaded, err)
	}
	want := map[string]start{"a": {At: time.Unix(1, 0).UTC(), Count: 2}}
	if err := record.Save(want); err != nil {
		t.Fatal(err)
	}
	if loaded, err := durable.NewRecord[map[string]start](path, "starts").Load(); err != nil || !reflect.DeepEqual(loaded, want) {
		t.Errorf("loaded %v, want %v: %v", loaded, want, err)
	}
}

func TestARecordThatMakesNoSenseIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "starts.json")
	for _, content := range []string{"{", `{"a":{"count":1},"b":7}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := durable.NewRecord[map[string]start](path, "starts").Load()
		if err == nil || loaded != nil || !strings.Contains(err.Error(), "read the record of starts in "+path) {
			t.Errorf("%s is read as %v: %v", content, loaded, err)
		}
	}
}

func TestARecordThatCannotBeWrittenIsAnError(t *testing.T) {
	record := durable.NewRecord[start](filepath.Join(t.TempDir(), "nowhere", "start.json"), "the start")
	if err := record.Save(start{}); err == nil || !strings.Contains(err.Error(), "write the record of the start") {
		t.Errorf("saved into a folder that is not there: %v", err)
	}
}
