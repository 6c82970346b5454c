package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/shared/edgeapi"
)

// program is the edge, compiled once for all tests and without the race
// detector: Caddy takes minutes with it. What is ours and concurrent is tested
// with it in package table.
var program = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "edge")
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "edge")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the edge: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := program(); err == nil && file != "" {
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// edge is a running edge.
type edge struct {
	testing.TB
	dir         string
	http, https int
	process     *exec.Cmd
	output      *lockedBuffer
}

func startEdge(t testing.TB) *edge {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: building the edge takes minutes; make test runs these")
	}
	e := &edge{TB: t, dir: t.TempDir(), http: freePort(t), https: freePort(t), output: &lockedBuffer{}}
	e.start()
	t.Cleanup(func() {
		e.stop()
		if t.Failed() {
			t.Logf("the edge wrote:\n%s", e.output)
		}
	})
	return e
}

func (e *edge) start() {
	e.Helper()
	file, err := program()
	if err != nil {
		e.Fatal(err)
	}
	e.process = exec.Command(file, "run", "--dir", e.dir, "--grace", "2s",
		"--http-port", strconv.Itoa(e.http), "--https-port", strconv.Itoa(e.https))
	e.process.Stdout, e.process.Stderr = e.output, e.output
	if err := e.process.Start(); err != nil {
		e.Fatal(err)
	}
	e.await("the edge answers", func() error {
		status, _, err := e.ask(http.MethodGet, edgeapi.PathHealth, nil)
		if err == nil && status != http.StatusNoContent {
			err = fmt.Errorf("answered with %d", status)
		}
		return err
	})
}

func (e *edge) stop() {
	_ = e.process.Process.Signal(syscall.SIGTERM)
	_ = e.process.Wait()
}

// ask talks to the edge as the agent does.
func (e *edge) ask(method, path string, in any) (status int, body string, err error) {
	var sent bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&sent).Encode(in); err != nil {
			return 0, "", err
		}
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(e.dir, edgeapi.SocketName))
		},
	}}
	question, err := http.NewRequestWithContext(e.Context(), method, "http://edge"+path, &sent)
	if err != nil {
		return 0, "", err
	}
	answer, err := client.Do(question)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), errors.Join(err, answer.Body.Close())
}

func (e *edge) set(owner string, routes ...edgeapi.Route) {
	e.Helper()
	status, body, err := e.ask(http.MethodPut, edgeapi.PathRoutes+"/"+owner, edgeapi.Routes{Routes: routes})
	if err != nil || status != http.StatusNoContent {
		e.Fatalf("set the routes of %s: %d %s %v", owner, status, body, err)
	}
}

// upstream starts a server that says its name.
func upstream(t testing.TB, name string, serve http.HandlerFunc) edgeapi.Upstream {
	t.Helper()
	if serve == nil {
		serve = func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s", name, r.Host, r.URL.RequestURI())
		}
	}
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	return edgeapi.Upstream{ID: name, Address: at.Hostname(), Port: port}
}

// reply is an answer whose body was read.
type reply struct {
	StatusCode int
	Header     http.Header
}

// send sends a request for a host and returns the answer with its body.
func (e *edge) send(method, host, path string, body io.Reader, header ...string) (reply, string) {
	e.Helper()
	ask, err := http.NewRequestWithContext(e.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", e.http, path), body)
	if err != nil {
		e.Fatal(err)
	}
	ask.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		ask.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(ask)
	if err != nil {
		e.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		e.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header}, strings.TrimSpace(string(text))
}

func (e *edge) await(what string, try func() error) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			e.Fatalf("waited in vain until %s: %v\nthe edge wrote:\n%s", what, err, e.output)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
