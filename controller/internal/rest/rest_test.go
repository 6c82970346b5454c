package rest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/controller/internal/rest"
	"fairlead.dev/shared/pki"
)

func engine(t *testing.T, checks ...rest.Check) (*gin.Engine, *httptest.Server) {
	t.Helper()
	e := rest.NewEngine(rest.EngineConfig{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry(), Checks: checks,
		KeepRequestID: func(ctx context.Context, _ string) context.Context { return ctx },
	})
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	return e, s
}

func get(t *testing.T, client *http.Client, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	return call(t, client, http.MethodGet, url, header...)
}

func call(t *testing.T, client *http.Client, method, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestReadyNamesWhatIsNot(t *testing.T) {
	good := rest.Check{Name: "schema", Ready: func(context.Context) error { return nil }}
	bad := rest.Check{Name: "database", Ready: func(context.Context) error { return errors.New("does not answer") }}

	_, s := engine(t, good)
	if status, body, _ := get(t, s.Client(), s.URL+"/readyz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("ready: %d %q", status, body)
	}
	if _, body, _ := get(t, s.Client(), s.URL+"/readyz?verbose"); body != "[+] schema: ok\nok\n" {
		t.Errorf("verbose: %q", body)
	}
	_, s = engine(t, good, bad)
	status, body, _ := get(t, s.Client(), s.URL+"/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "[-] database: does not answer") {
		t.Errorf("not ready: %d %q", status, body)
	}
	if status, _, _ := get(t, s.Client(), s.URL+"/livez"); status != http.StatusOK {
		t.Errorf("live while not ready: %d", status)
	}
}

func TestDocsPageLoadsNothingFromOutside(t *testing.T) {
	_, s := engine(t)
	status, page, _ := get(t, s.Client(), s.URL+"/docs/")
	if status != http.StatusOK || !strings.Contains(page, "/openapi.json") {
		t.Fatalf("%d %s", status, page)
	}
	for _, attribute := range []string{`src="`, `href="`} {
		for _, rest := range strings.Split(page, attribute)[1:] {
			link, _, _ := strings.Cut(rest, `"`)
			if !strings.HasPrefix(link, "/docs/") {
				t.Errorf("the page refers to %q", link)
				continue
			}
			if status, _, _ := get(t, s.Client(), s.URL+link); status != http.StatusOK {
				t.Errorf("%s answers %d", link, status)
			}
		}
	}
}

func TestPanicAnswers500AndTheServerGoesOn(t *testing.T) {
	e, s := engine(t)
	e.GET("/panic", func(*gin.Context) { panic("ouch") })
	if status, body, _ := get(t, s.Client(), s.URL+"/panic"); status != http.StatusInternalServerError || strings.Contains(body, "ouch") {
		t.Errorf("%d %q", status, body)
	}
	if status, _, _ := get(t, s.Client(), s.URL+"/livez"); status != http.StatusOK {
		t.Errorf("after a panic: %d", status)
	}
}

func TestForeignPagesCannotUseASession(t *testing.T) {
	e, s := engine(t)
	e.POST("/act", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	for name, c := range map[string]struct {
		header []string
		want   int
	}{
		"another origin": {[]string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"the same":       {[]string{"Sec-Fetch-Site", "same-origin"}, http.StatusNoContent},
		"no browser":     {nil, http.StatusNoContent},
	} {
		if status, _, _ := call(t, s.Client(), http.MethodPost, s.URL+"/act", c.header...); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
}

func TestAnswersCarryAnIDAndAreMeasuredByRoute(t *testing.T) {
	e, s := engine(t)
	e.GET("/things/:id", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	_, _, one := get(t, s.Client(), s.URL+"/things/secret-name")
	_, _, two := get(t, s.Client(), s.URL+"/things/other-name")
	if one.Get("Request-Id") == "" || one.Get("Request-Id") == two.Get("Request-Id") {
		t.Errorf("request ids %q and %q", one.Get("Request-Id"), two.Get("Request-Id"))
	}
	_, metrics, _ := get(t, s.Client(), s.URL+"/metrics")
	if !strings.Contains(metrics, `fairlead_http_request_duration_seconds_count{code="204",method="GET",route="/things/:id"} 2`) {
		t.Errorf("two requests to one route are not one series of two:\n%s", metrics)
	}
	if strings.Contains(metrics, "secret-name") {
		t.Error("a path is in the metrics")
	}
}

type library map[string]string

func (l library) File(path string) (string, bool) { f, ok := l[path]; return f, ok }
func (l library) Signature(path string) ([]byte, bool) {
	_, ok := l[strings.TrimSuffix(path, ".sig")]
	return []byte("signature"), ok && strings.HasSuffix(path, ".sig")
}

func TestOnlyArtifactsAreServed(t *testing.T) {
	e, s := engine(t)
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, []byte("archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	rest.MountArtifacts(e, library{"/artifacts/dagent/1/linux-amd64.tar": file})
	for path, want := range map[string]string{
		"/artifacts/dagent/1/linux-amd64.tar":     "archive",
		"/artifacts/dagent/1/linux-amd64.tar.sig": "signature",
	} {
		if status, body, _ := get(t, s.Client(), s.URL+path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	for _, path := range []string{"/artifacts/", "/artifacts/dagent/1/", "/artifacts/../" + file, "/artifacts/%2e%2e/%2e%2e/etc/passwd"} {
		if status, body, _ := get(t, s.Client(), s.URL+path); status != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
}

func TestLimiterAllowsABurstThenWaits(t *testing.T) {
	now := time.Unix(1000, 0)
	l := rest.NewLimiter(3, 10*time.Second, func() time.Time { return now })
	for i := range 3 {
		if ok, _ := l.Allow("1.2.3.4:1000"); !ok {
			t.Fatalf("try %d was refused", i)
		}
	}
	// Another port is the same caller, another host is not.
	if ok, wait := l.Allow("1.2.3.4:2000"); ok || wait <= 0 || wait > 10*time.Second {
		t.Errorf("the fourth try: %v, wait %v", ok, wait)
	}
	if ok, _ := l.Allow("[2001:db8::1]:1"); !ok {
		t.Error("another caller was refused")
	}
	// A refused try does not cost: it is allowed as soon as it was told.
	now = now.Add(10 * time.Second)
	if ok, _ := l.Allow("1.2.3.4:1000"); !ok {
		t.Error("refused after the wait")
	}
}

func TestLimiterForgetsSomebodyBeforeItGrowsWithoutEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	l := rest.NewLimiter(1, time.Hour, func() time.Time { return now })
	for i := range 30_000 {
		l.Allow(net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)).String() + ":1")
	}
	if ok, _ := l.Allow("192.0.2.1:1"); !ok {
		t.Error("a new caller is refused because there were many others")
	}
}

func TestRunFinishesWhatIsUnderWayAndCutsTheRest(t *testing.T) {
	for name, c := range map[string]struct {
		budget time.Duration
		want   string
	}{
		"finishes": {time.Minute, "done"},
		"cuts":     {time.Nanosecond, "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			entered, release, saw := make(chan struct{}), make(chan struct{}), make(chan string, 1)
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(entered)
				select {
				case <-release:
					saw <- "done"
				case <-r.Context().Done():
					saw <- "cut"
				}
			})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- rest.New(rest.Config{Listener: l, Handler: handler, Log: slog.New(slog.DiscardHandler), StopTimeout: c.budget}).Run(ctx)
			}()
			go func() {
				req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+l.Addr().String(), http.NoBody)
				if err == nil {
					if res, err := http.DefaultClient.Do(req); err == nil {
						_ = res.Body.Close()
					}
				}
			}()
			<-entered
			stop()
			if c.want == "done" {
				close(release)
			}
			if got := <-saw; got != c.want {
				t.Errorf("the request under way was %s, want %s", got, c.want)
			}
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

// A client that asks and then takes nothing of a long answer does not keep its
// handler.
func TestAnAnswerThatNobodyTakesEnds(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for part := make([]byte, 1<<20); ; {
			if _, err := w.Write(part); err != nil {
				failed <- err
				return
			}
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- rest.New(rest.Config{
			Listener: l, Handler: handler, Log: slog.New(slog.DiscardHandler), StopTimeout: time.Minute, WriteTimeout: 100 * time.Millisecond,
		}).Run(ctx)
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing ended with %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestCertificateFilesAreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(at time.Time) []byte {
		authority, err := pki.NewAuthority(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := authority.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := errors.Join(os.WriteFile(file, content, 0o600), os.Chtimes(file, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		return authority.Root.Raw
	}
	served := func(c *rest.CertificateFiles) []byte {
		pair, err := c.TLSConfig().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return pair.Certificate[0]
	}
	if _, err := rest.NewCertificateFiles(certFile, keyFile); err == nil {
		t.Error("missing files are no error at start")
	}
	first := write(time.Unix(1000, 0))
	files, err := rest.NewCertificateFiles(certFile, keyFile)
	if err != nil || string(served(files)) != string(first) {
		t.Fatalf("the first certificate is not served: %v", err)
	}
	second := write(time.Unix(2000, 0))
	if string(served(files)) != string(second) {
		t.Error("the changed certificate is not served")
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	if string(served(files)) != string(second) {
		t.Error("with a file missing, the last good certificate is not served")
	}
}
