package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// running serves an app whose environment is env.
func running(t *testing.T, env map[string]string, now func() time.Time, out io.Writer) (*app, *httptest.Server) {
	t.Helper()
	config, err := configFromEnv(func(key string) (string, bool) { value, found := env[key]; return value, found })
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(config, now, slog.New(slog.NewTextHandler(out, nil)))
	server := httptest.NewServer(app.routes())
	t.Cleanup(server.Close)
	return app, server
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return send(t, http.MethodGet, url, "")
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func TestSaysWhoItIsAndKeepsValuesToItself(t *testing.T) {
	t.Setenv("SAMPLE_TEST_SECRET", "hunter2")
	_, server := running(t, map[string]string{"GREETING": "<Ahoy>", "SAMPLE_VERSION": "1.2.3"}, time.Now, io.Discard)

	status, body := get(t, server.URL+"/info")
	var said info
	if err := json.Unmarshal([]byte(body), &said); err != nil || status != http.StatusOK {
		t.Fatalf("/info: %d %s (%v)", status, body, err)
	}
	if said.Greeting != "<Ahoy>" || said.Version != "1.2.3" || !said.Healthy || said.Hostname == "" {
		t.Errorf("/info = %+v", said)
	}
	if !slices.Contains(said.EnvKeys, "SAMPLE_TEST_SECRET") || !slices.IsSorted(said.EnvKeys) {
		t.Errorf("environment keys = %v", said.EnvKeys)
	}

	_, page := get(t, server.URL+"/")
	for _, want := range []string{"&lt;Ahoy&gt;", "1.2.3", "SAMPLE_TEST_SECRET"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page+body, "hunter2") {
		t.Error("an environment value is shown")
	}
	if status, _ := get(t, server.URL+"/nothing"); status != http.StatusNotFound {
		t.Errorf("/nothing: %d", status)
	}
}

func TestHealth(t *testing.T) {
	clock := time.Unix(1000, 0)
	_, server := running(t, map[string]string{"SAMPLE_READY_AFTER": "5s"}, func() time.Time { return clock }, io.Discard)
	expect := func(want int) {
		t.Helper()
		if got, _ := get(t, server.URL+"/healthz"); got != want {
			t.Errorf("/healthz: %d, want %d", got, want)
		}
		err := healthcheck(t.Context(), portOf(t, server.URL))
		if (err == nil) != (want == http.StatusOK) {
			t.Errorf("healthcheck: %v", err)
		}
	}
	expect(http.StatusServiceUnavailable)
	clock = clock.Add(5 * time.Second)
	expect(http.StatusOK)
	get(t, server.URL+"/control/unhealthy")
	expect(http.StatusServiceUnavailable)
	get(t, server.URL+"/control/healthy")
	expect(http.StatusOK)
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Port()
}

func TestStartsUnhealthyWhenToldTo(t *testing.T) {
	_, server := running(t, map[string]string{"SAMPLE_UNHEALTHY": "true"}, time.Now, io.Discard)
	if got, _ := get(t, server.URL+"/healthz"); got != http.StatusServiceUnavailable {
		t.Errorf("/healthz: %d", got)
	}
}

func TestExit(t *testing.T) {
	app, server := running(t, nil, time.Now, io.Discard)
	for _, code := range []string{"256", "-1", "x"} {
		if status, body := get(t, server.URL+"/control/exit?code="+code); status != http.StatusBadRequest {
			t.Errorf("code %s: %d %s", code, status, body)
		}
	}
	get(t, server.URL+"/control/exit?code=3")
	get(t, server.URL+"/control/exit?code=4") // too late
	if got := <-app.exit; got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	_, server := running(t, nil, time.Now, &out)
	get(t, server.URL+"/control/log?line=needle&count=3")
	get(t, server.URL+"/control/log?line=single")
	if strings.Count(out.String(), "needle") != 3 || strings.Count(out.String(), "single") != 1 {
		t.Errorf("logged:\n%s", out.String())
	}
	for _, query := range []string{"count=0", "count=100001", "count=x", "line=" + strings.Repeat("x", maxLine+1)} {
		if status, _ := get(t, server.URL+"/control/log?"+query); status != http.StatusBadRequest {
			t.Errorf("%.40s: %d", query, status)
		}
	}
}

func TestDataStaysInItsFolder(t *testing.T) {
	outside := t.TempDir()
	data := filepath.Join(outside, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(data, "out")); err != nil {
		t.Fatal(err)
	}
	_, server := running(t, map[string]string{"SAMPLE_DATA": data}, time.Now, io.Discard)

	if status, body := send(t, http.MethodPost, server.URL+"/control/write?path=note", "kept"); status != http.StatusOK {
		t.Fatalf("write: %d %s", status, body)
	}
	if status, body := get(t, server.URL+"/control/read?path=note"); status != http.StatusOK || body != "kept" {
		t.Errorf("read: %d %s", status, body)
	}
	for _, path := range []string{"", "../escaped", "/etc/escaped", "out/escaped"} {
		if status, _ := send(t, http.MethodPost, server.URL+"/control/write?path="+path, "x"); status == http.StatusOK {
			t.Errorf("wrote to %q", path)
		}
	}
	if status, _ := get(t, server.URL+"/control/read?path=missing"); status != http.StatusNotFound {
		t.Errorf("missing file: %d", status)
	}
	tooMuch := strings.Repeat("x", maxData+1)
	if status, _ := send(t, http.MethodPost, server.URL+"/control/write?path=big", tooMuch); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too much data: %d", status)
	}
}

// seen closes done when text has been written to it.
type seen struct {
	text string
	done chan struct{}
	once sync.Once
}

func (s *seen) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.once.Do(func() { close(s.done) })
	}
	return len(p), nil
}

func TestServeEndsWithCodeZeroWhenTold(t *testing.T) {
	config, err := configFromEnv(func(key string) (string, bool) { return "0", key == "PORT" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listening := &seen{text: "listening", done: make(chan struct{})}
	type result struct {
		code int
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		code, err := serve(ctx, config, slog.New(slog.NewTextHandler(listening, nil)))
		ended <- result{code, err}
	}()
	select {
	case <-listening.done:
	case early := <-ended:
		t.Fatalf("ended before it listened: %+v", early)
	}
	cancel()
	if got := <-ended; got != (result{}) {
		t.Errorf("serve ended with %+v", got)
	}
}

func TestBadEnvironmentIsRefusedByName(t *testing.T) {
	for key, value := range map[string]string{
		"PORT": "http", "SAMPLE_UNHEALTHY": "maybe", "SAMPLE_READY_AFTER": "soon", "SAMPLE_EXIT_CODE": "300",
	} {
		_, err := configFromEnv(func(asked string) (string, bool) { return value, asked == key })
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}
