package debugserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/debugserver"
)

func TestOnlyLoopback(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:0": true, "127.9.9.9:0": true, "[::1]:0": true, "localhost:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false, "example.org:0": false, "6060": false, "": false,
	} {
		if err := debugserver.Check(address); (err == nil) != good || err != nil && !apperr.Is(err, apperr.Invalid) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if l, err := debugserver.Listen(t.Context(), "0.0.0.0:0"); err == nil {
		l.Close()
		t.Error("it listens to everybody")
	}
}

func TestProfilesAndMemory(t *testing.T) {
	listener, err := debugserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- debugserver.Run(ctx, listener) }()
	base := "http://" + listener.Addr().String()

	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/debug/pprof/goroutine?debug=1", http.StatusOK},
		{http.MethodGet, "/debug/memory", http.StatusOK},
		{http.MethodPost, "/debug/gc", http.StatusOK},
		{http.MethodGet, "/debug/gc", http.StatusMethodNotAllowed},
		{http.MethodPost, "/debug/rates?mutex=0&block=0", http.StatusNoContent},
		{http.MethodPost, "/debug/rates", http.StatusBadRequest},
		{http.MethodGet, "/", http.StatusNotFound},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != c.want {
			t.Errorf("%s %s: %s", c.method, c.path, response.Status)
		}
		if c.path == "/debug/gc" && c.want == http.StatusOK {
			var m debugserver.Memory
			if err := json.NewDecoder(response.Body).Decode(&m); err != nil || m.Goroutines == 0 || m.HeapAlloc == 0 || m.Mallocs == 0 {
				t.Errorf("memory %+v, %v", m, err)
			}
		}
		response.Body.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
