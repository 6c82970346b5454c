package runledger_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/runledger"
)

func TestWhatIsSavedIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.json")
	ledger := runledger.New(path)
	if loaded, err := ledger.Load(); err != nil || len(loaded.Running) != 0 {
		t.Errorf("without a file there are %v: %v", loaded, err)
	}
	want := docker.Runs{Running: map[string]docker.Run{"a": {StartedAt: time.Unix(1, 0).UTC(), Unwanted: true}}, LostAt: time.Unix(2, 0).UTC()}
	if err := ledger.Save(want); err != nil {
		t.Fatal(err)
	}
	if loaded, err := runledger.New(path).Load(); err != nil || !reflect.DeepEqual(loaded, want) {
		t.Errorf("loaded %v, want %v: %v", loaded, want, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Load(); err == nil {
		t.Error("a file that makes no sense was read")
	}
}
