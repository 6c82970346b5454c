package system_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

// deploy starts a release and waits until it is successful.
func (d *deployed) deploy(t testing.TB) {
	t.Helper()
	must(t, d.Start(t.Context(), d.id))
	d.mustEnd(t, client.Successful)
}

// mustEnd waits for the outcome of what was started.
func (d *deployed) mustEnd(t testing.TB, want string) client.Deployment {
	t.Helper()
	seen, err := d.Outcome(t.Context(), d.id, deployPatience)
	must(t, err)
	if seen.Status != want {
		t.Fatalf("the deployment is %s, want %s; its last release: %+v", seen.Status, want, d.lastRelease(t))
	}
	return seen
}

// deployInVain starts a release that must fail, and returns why it did.
func (d *deployed) deployInVain(t testing.TB) client.Failure {
	t.Helper()
	must(t, d.Start(t.Context(), d.id))
	seen := d.mustEnd(t, client.Failed)
	last := d.lastRelease(t)
	if last.Number != seen.LastTry || last.Outcome != client.Failed || last.Failure == nil {
		t.Fatalf("the deployment failed at release %d, but its last release is %+v", seen.LastTry, last)
	}
	return *last.Failure
}

func (d *deployed) lastRelease(t testing.TB) client.Release {
	t.Helper()
	list, err := d.Releases(t.Context(), d.id)
	must(t, err)
	var last client.Release
	for _, r := range list {
		if r.Number > last.Number {
			last = r
		}
	}
	return last
}

func (d *deployed) setEnvironment(t testing.TB, pairs ...string) {
	t.Helper()
	var env []client.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		env = append(env, client.KeyValue{Key: pairs[i], Value: pairs[i+1]})
	}
	must(t, d.SetEnvironment(t.Context(), d.id, env...))
}

// app calls the sample through its published port.
func (d *deployed) app(t testing.TB, method, path string, out any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return client.New(fmt.Sprintf("http://127.0.0.1:%d", d.port)).Call(ctx, method, path, nil, out)
}

// mustGreet fails unless the sample answers with the greeting.
func (d *deployed) mustGreet(t testing.TB, want string) {
	t.Helper()
	var info struct {
		Greeting string `json:"greeting"`
	}
	if err := d.app(t, http.MethodGet, "/info", &info); err != nil || info.Greeting != want {
		t.Fatalf("the application says %q (%v), want %q", info.Greeting, err, want)
	}
}

// mustKeep writes to, or reads from, the sample's data folder.
func (d *deployed) mustKeep(t testing.TB, want string) {
	t.Helper()
	var content []byte
	if err := d.app(t, http.MethodGet, "/control/read?path=note", &content); err != nil || string(content) != want {
		t.Errorf("the volume holds %q (%v), want %q", content, err, want)
	}
}
