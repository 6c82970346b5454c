// Package buckettest serves a bucket to tests: a real S3-compatible server, with
// a record of what it gave away.
package buckettest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// The one bucket there is, and the access key of the one who may read it, with
// any secret key. Everybody else is asked RefusalWords.
const (
	Bucket       = "assets"
	AccessKey    = "robot"
	RefusalWords = "who are you?"
)

// Store is a server with the bucket.
type Store struct {
	*s3mem.Backend
	// URL is its address.
	URL string

	mu      sync.Mutex
	fetched []string
}

// New starts a server on an address of this machine, until the test ends.
func New(t testing.TB, host string) *Store {
	t.Helper()
	s := &Store{Backend: s3mem.New()}
	if err := s.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	storage := gofakes3.New(s.Backend).Server()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+AccessKey+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>" + RefusalWords + "</Message></Error>"))
			return
		}
		if name, file := strings.CutPrefix(r.URL.Path, "/"+Bucket+"/"); r.Method == http.MethodGet && file && name != "" {
			s.mu.Lock()
			s.fetched = append(s.fetched, name)
			s.mu.Unlock()
		}
		storage.ServeHTTP(w, r)
	}))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close() // the one that it came with
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Put stores a file.
func (s *Store) Put(t testing.TB, name, content string) {
	t.Helper()
	modified := map[string]string{"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}
	if _, err := s.PutObject(Bucket, name, modified, strings.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
}

// Fetched returns, sorted, the names of the files that were fetched since it was
// called last.
func (s *Store) Fetched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.fetched
	s.fetched = nil
	slices.Sort(list)
	return list
}
