package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/shared/edgeapi"
)

func TestRequestsTakeTheirRoutes(t *testing.T) {
	e := startEdge(t)
	shop, api, every := upstream(t, "shop", nil), upstream(t, "api", nil), upstream(t, "any", nil)
	e.set("a",
		edgeapi.Route{Name: "shop", Host: "shop.test", Path: "/", Upstreams: []edgeapi.Upstream{shop}},
		edgeapi.Route{Name: "api", Host: "shop.test", Path: "/api", StripPath: true, Upstreams: []edgeapi.Upstream{api}},
	)
	e.set("b", edgeapi.Route{Name: "any", Path: "/any", Upstreams: []edgeapi.Upstream{every}})
	for _, c := range []struct {
		host, path string
		status     int
		body       string
	}{
		{"shop.test", "/", 200, "shop shop.test /"},
		{"SHOP.test:80", "/a?b=c", 200, "shop SHOP.test:80 /a?b=c"},
		{"shop.test", "/apix", 200, "shop shop.test /apix"},
		{"shop.test", "/api", 200, "api shop.test /"},
		{"shop.test", "/api/a%2Fb/c?d", 200, "api shop.test /a%2Fb/c?d"},
		{"else.test", "/any/x", 200, "any else.test /any/x"},
		{"else.test", "/", 404, "nothing is served here"},
	} {
		answer, body := e.send(http.MethodGet, c.host, c.path, nil)
		if answer.StatusCode != c.status || body != c.body {
			t.Errorf("%s%s: %d %q, want %d %q", c.host, c.path, answer.StatusCode, body, c.status, c.body)
		}
	}
}

func TestRouteOfAnotherOwnerIsRefused(t *testing.T) {
	e := startEdge(t)
	route := edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", Upstreams: []edgeapi.Upstream{upstream(t, "one", nil)}}
	e.set("a", route)
	for _, query := range []string{"", "?check=true"} {
		status, body, err := e.ask(http.MethodPut, edgeapi.PathRoutes+"/b"+query, edgeapi.Routes{Routes: []edgeapi.Route{route}})
		if err != nil || status != http.StatusConflict || !strings.Contains(body, "web under prefix a") {
			t.Errorf("b asks for the route of a: %d %s %v", status, body, err)
		}
	}
	status, _, err := e.ask(http.MethodDelete, edgeapi.PathRoutes+"/a", nil)
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("delete: %d %v", status, err)
	}
	e.set("b", route)
}

func TestRoutesOutliveTheEdge(t *testing.T) {
	e := startEdge(t)
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", Upstreams: []edgeapi.Upstream{upstream(t, "one", nil)}})
	_ = e.process.Process.Kill()
	_ = e.process.Wait()
	e.start()
	if answer, body := e.send(http.MethodGet, "shop.test", "/", nil); answer.StatusCode != http.StatusOK {
		t.Errorf("after a restart: %d %s", answer.StatusCode, body)
	}
	info, err := os.Stat(filepath.Join(e.dir, edgeapi.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v (%v), want it closed to others", info, err)
	}
}

func TestUploadsAreLimited(t *testing.T) {
	e := startEdge(t)
	up := upstream(t, "sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", MaxBody: 1000, Upstreams: []edgeapi.Upstream{up}})
	for name, body := range map[string]io.Reader{
		"of known size":   strings.NewReader(strings.Repeat("x", 1001)),
		"of unknown size": io.MultiReader(strings.NewReader(strings.Repeat("x", 5000))),
	} {
		if answer, said := e.send(http.MethodPost, "shop.test", "/", body); answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body %s that is too large: %d %s", name, answer.StatusCode, said)
		}
	}
	if answer, said := e.send(http.MethodPost, "shop.test", "/", strings.NewReader(strings.Repeat("x", 1000))); answer.StatusCode != http.StatusOK || said != "1000 <nil>" {
		t.Errorf("a body of the limit: %d %s", answer.StatusCode, said)
	}
}

func TestPagesOfOtherOriginsMayAskWhenTheRouteSaysSo(t *testing.T) {
	e := startEdge(t)
	up := upstream(t, "api", nil)
	e.set("a",
		edgeapi.Route{Name: "open", Host: "open.test", Path: "/", CORS: &edgeapi.CORS{AllowHeaders: []string{"X-One"}}, Upstreams: []edgeapi.Upstream{up}},
		edgeapi.Route{Name: "closed", Host: "closed.test", Path: "/", Upstreams: []edgeapi.Upstream{up}})
	preflight := []string{"Origin", "https://page.test", "Access-Control-Request-Method", "PUT"}
	answer, _ := e.send(http.MethodOptions, "open.test", "/", nil, preflight...)
	if answer.StatusCode != http.StatusNoContent || answer.Header.Get("Access-Control-Allow-Headers") != "X-One" ||
		answer.Header.Get("Access-Control-Allow-Origin") != "*" || answer.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", answer.StatusCode, answer.Header)
	}
	answer, _ = e.send(http.MethodGet, "open.test", "/", nil, "Origin", "https://page.test")
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("request: %d %v", answer.StatusCode, answer.Header)
	}
	answer, _ = e.send(http.MethodOptions, "closed.test", "/", nil, preflight...)
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a route that does not say so: %d %v", answer.StatusCode, answer.Header)
	}
}

// One of two upstreams is gone, the other unhealthy: no request fails while
// any can be answered.
func TestRequestsGoWhereTheyAreAnswered(t *testing.T) {
	e := startEdge(t)
	fine, gone := upstream(t, "fine", nil), edgeapi.Upstream{ID: "gone", Address: "127.0.0.1", Port: freePort(t)}
	sick := upstream(t, "sick", nil)
	sick.Unhealthy = true
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", Upstreams: []edgeapi.Upstream{gone, sick, fine}})
	for range 20 {
		if answer, body := e.send(http.MethodPost, "shop.test", "/", strings.NewReader("once")); answer.StatusCode != http.StatusOK || !strings.HasPrefix(body, "fine ") {
			t.Fatalf("answered with %d %s, want the healthy one that is there", answer.StatusCode, body)
		}
	}
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/", Upstreams: []edgeapi.Upstream{gone, sick}})
	if answer, body := e.send(http.MethodGet, "shop.test", "/", nil); !strings.HasPrefix(body, "sick ") {
		t.Errorf("answered with %d %s, want the unhealthy one, which is better than none", answer.StatusCode, body)
	}
	e.set("a", edgeapi.Route{Name: "web", Host: "shop.test", Path: "/"})
	if answer, _ := e.send(http.MethodGet, "shop.test", "/", nil); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a route without upstreams: %d", answer.StatusCode)
	}
}
