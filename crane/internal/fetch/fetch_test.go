package fetch_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"fairlead.dev/crane/internal/fetch"
)

// store is an S3-compatible server with a bucket that only the robot reads. It
// counts the files it gave away.
type store struct {
	*s3mem.Backend
	address string
	fetched int
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{Backend: s3mem.New()}
	server := gofakes3.New(s.Backend).Server()
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=robot/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<Error><Code>AccessDenied</Code><Message>who are you?</Message></Error>`))
			return
		}
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/assets/") && r.URL.Path != "/assets/" {
			s.fetched++
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(listener.Close)
	s.address = listener.URL
	if err := s.CreateBucket("assets"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *store) put(t *testing.T, key, content string) {
	t.Helper()
	if _, err := s.PutObject("assets", key, map[string]string{"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"},
		strings.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
}

// fill fills a folder from the store.
func (s *store) fill(t *testing.T, folder, user string) (told string, err error) {
	t.Helper()
	var out bytes.Buffer
	variables := map[string]string{
		fetch.VariableURL: s.address, fetch.VariableBucket: "assets/site", fetch.VariableAccess: user, fetch.VariableSecret: "hunter2",
	}
	err = fetch.Run(t.Context(), []string{fetch.Storage, "-1", folder}, func(name string) string { return variables[name] }, &out)
	return strings.TrimSpace(out.String()), err
}

func TestAVolumeIsFilledFromAStorage(t *testing.T) {
	s, folder := newStore(t), t.TempDir()
	s.put(t, "site/index.html", "one")
	s.put(t, "site/img/logo", "picture")
	s.put(t, "other", "not asked for")
	for _, step := range []struct{ content, told string }{
		{"one", "2 files, 2 of them fetched"}, {"one", "2 files, 0 of them fetched"}, {"two", "2 files, 1 of them fetched"},
	} {
		if step.content != "one" {
			s.put(t, "site/index.html", step.content)
		}
		if told, err := s.fill(t, folder, "robot"); err != nil || told != step.told {
			t.Fatalf("told %q, %v, want %q", told, err, step.told)
		}
		if text, err := os.ReadFile(filepath.Join(folder, "index.html")); err != nil || string(text) != step.content {
			t.Errorf("the volume holds %q, %v, want %q", text, err, step.content)
		}
	}
	if s.fetched != 3 {
		t.Errorf("%d files were fetched, want 3", s.fetched)
	}
	if _, err := os.Stat(filepath.Join(folder, "other")); err == nil {
		t.Error("a file of another folder of the bucket is in the volume")
	}
}

func TestAStorageThatFailsLeavesTheVolume(t *testing.T) {
	s, folder := newStore(t), t.TempDir()
	s.put(t, "site/index.html", "one")
	if _, err := s.fill(t, folder, "robot"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fill(t, folder, "thief"); err == nil || !strings.Contains(err.Error(), "assets") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a thief was answered %v", err)
	}
	s.put(t, "site/../escape", "x")
	if _, err := s.fill(t, folder, "robot"); err == nil || !strings.Contains(err.Error(), "escape") {
		t.Errorf("a name that leads out of the volume: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "index.html")); err != nil || string(text) != "one" {
		t.Errorf("the volume holds %q, %v", text, err)
	}
}

func TestTheProgramIsProvidedAndCopies(t *testing.T) {
	folder, target := t.TempDir(), t.TempDir()
	run := func(words ...string) error { return fetch.Run(t.Context(), words, os.Getenv, &bytes.Buffer{}) }
	program := filepath.Join(folder, "program")
	if err := run(fetch.Provide, program); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(program); err != nil || info.Mode().Perm()&0o111 == 0 || info.Size() == 0 {
		t.Errorf("the program is %v, %v", info, err)
	}
	for name, verb := range map[string]string{"mine": fetch.Overlay, "": fetch.Mirror} {
		if err := os.WriteFile(filepath.Join(target, "mine"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(verb, folder, target); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(target, "program")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(target, "mine")); (err == nil) != (name == "mine") {
			t.Errorf("after %s the file that was there: %v", verb, err)
		}
	}
	for _, words := range [][]string{nil, {"dance"}, {fetch.Storage, "-1"}, {fetch.Provide}, {fetch.Mirror, folder}, {fetch.Storage, "root", folder}} {
		if run(words...) == nil {
			t.Errorf("%q is understood", words)
		}
	}
}
