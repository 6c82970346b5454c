package kube_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/shared/apperr"
)

// TestAStartingServersRefusalsAreNotBelieved has an API server that answers
// before it knows who may what, as a real one does for a moment.
func TestAStartingServersRefusalsAreNotBelieved(t *testing.T) {
	var loaded atomic.Bool // the rules are
	var asked atomic.Int32 // whether it is ready
	forbidden := false     // by the rules
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/behind/version":
			_, _ = fmt.Fprint(w, `{"gitVersion": "v1.36.0", "platform": "linux/amd64"}`)
		case r.URL.Path == "/behind/readyz":
			if !loaded.Load() {
				w.WriteHeader(http.StatusForbidden)
			}
			if asked.Add(1) == 2 { // from now on
				loaded.Store(true)
			}
		case forbidden, !loaded.Load():
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403}`)
		default:
			_, _ = fmt.Fprint(w, `{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system", "uid": "the-cluster"}}`)
		}
	}))
	t.Cleanup(server.Close)
	driver, err := kube.New(&rest.Config{Host: server.URL + "/behind"}, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := driver.Info(t.Context()); err != nil || info.ID != "the-cluster" || asked.Load() != 2 {
		t.Errorf("while it starts: %+v, %v, asked %d times whether it is ready", info, err, asked.Load())
	}
	forbidden = true
	if info, err := driver.Info(t.Context()); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("what is forbidden for good: %+v, %v", info, err)
	}
}
