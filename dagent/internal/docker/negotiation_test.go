package docker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/dagent/internal/docker"
)

// An engine refuses calls in a version of the API that is newer than its own, as
// Docker 20.10 with 1.41 does; all calls come in its own, the first ones too,
// when several begin at once.
func TestTheEnginesVersionOfTheAPIIsSpoken(t *testing.T) {
	for _, version := range []string{"1.41", "1.44"} {
		t.Run(version, func(t *testing.T) {
			engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Api-Version", version)
				path, spoken := strings.CutPrefix(r.URL.Path, "/v"+version)
				answers := map[string]string{
					"/_ping": "OK", "/info": `{"ID": "old"}`, "/containers/json": "[]",
					"/version": fmt.Sprintf(`{"Version": "20.10.24", "ApiVersion": %q, "Os": "linux", "Arch": "amd64"}`, version),
				}
				answer, known := answers[path]
				if !known || !spoken && path != "/_ping" {
					w.WriteHeader(http.StatusBadRequest)
					answer = fmt.Sprintf(`{"message": "client version is too new. Maximum supported API version is %s: %s"}`, version, r.URL.Path)
				}
				_, _ = w.Write([]byte(answer))
			}))
			defer engine.Close()
			client, err := docker.Connect("tcp://" + engine.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			driver := docker.New(client, docker.Options{})
			var calls sync.WaitGroup
			for range 4 {
				calls.Go(func() {
					info, err := driver.Info(t.Context())
					if err != nil || info.ID != "old" || info.Version != "20.10.24" {
						t.Errorf("info %+v, %v", info, err)
					}
				})
				calls.Go(func() {
					if _, err := driver.List(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if got := client.ClientVersion(); got != version {
				t.Errorf("the API is spoken in version %s", got)
			}
		})
	}
}
