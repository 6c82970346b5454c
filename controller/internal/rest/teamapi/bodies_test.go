package teamapi_test

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/rest/teamapi"
)

// TestEveryBodyIsHeldToItsSchema tries every route that takes a body with what
// does not belong there.
func TestEveryBodyIsHeldToItsSchema(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	tried := 0
	for _, o := range operations(t, k.Controller) {
		if o.RequestBody == nil || len(o.Security) == 0 {
			continue
		}
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			tried++
			for _, status := range []string{"408", "413", "415"} {
				if o.Responses[status] == nil {
					t.Errorf("that it may answer %s is not in the document", status)
				}
			}
			path := o.at("", "", x.rows)
			fitting := o.body(t)
			if fields, is := fitting.(map[string]any); is {
				surplus := maps.Clone(fields)
				surplus["surplus"] = true
				r := x.Do(o.Method, path, surplus)
				problem(t, r, http.StatusBadRequest)
				if r.String(t, "property") != "surplus" {
					t.Errorf("an unknown field is answered %s", r.Body)
				}
			}
			eachText(fitting, "", func(at string, with func(text string) any) {
				r := x.Do(o.Method, path, with("a\x00b"))
				problem(t, r, http.StatusBadRequest)
				if r.String(t, "property") != at || r.String(t, "pointer") == "" {
					t.Errorf("a NUL character in %s is answered %s", at, r.Body)
				}
			})
			problem(t, x.Do(o.Method, path, "{"), http.StatusBadRequest)
			problem(t, x.Do(o.Method, path, `"`+strings.Repeat("x", teamapi.MaxBodyBytes)+`"`), http.StatusRequestEntityTooLarge)
		})
	}
	if tried < 20 {
		t.Errorf("only %d routes with bodies found", tried)
	}
}

// eachText visits every text in a body: its place, as properties are written,
// and the body with another text there.
func eachText(body any, at string, visit func(at string, with func(text string) any)) {
	switch body := body.(type) {
	case string:
		visit(strings.TrimPrefix(at, "."), func(text string) any { return text })
	case map[string]any:
		for key, member := range body {
			eachText(member, at+"."+key, func(at string, with func(string) any) {
				visit(at, func(text string) any {
					changed := maps.Clone(body)
					changed[key] = with(text)
					return changed
				})
			})
		}
	case []any:
		for i, item := range body {
			eachText(item, fmt.Sprintf("%s[%d]", at, i), func(at string, with func(string) any) {
				visit(at, func(text string) any {
					changed := slices.Clone(body)
					changed[i] = with(text)
					return changed
				})
			})
		}
	}
}

// TestABodyThatDoesNotComeIsNotWaitedForLong sends every route that takes a body
// the beginning of one and then nothing, and to one of them with a key too.
func TestABodyThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	var wg sync.WaitGroup
	for _, o := range operations(t, k.Controller) {
		if o.RequestBody == nil || len(o.Security) == 0 {
			continue
		}
		begin := o.Method + " " + o.at("", "", x.rows) + " HTTP/1.1\r\nAuthorization: Bearer " + x.Token()
		wg.Go(func() { mustNotWaitForTheBody(t, k, begin) })
		if o.Path == "/api/{teamSlug}/nodes" {
			wg.Go(func() { mustNotWaitForTheBody(t, k, begin+"\r\nIdempotency-Key: slow") })
		}
	}
	wg.Wait()
}

func mustNotWaitForTheBody(t *testing.T, k cast, begin string) {
	t.Helper()
	line, _, _ := strings.Cut(begin, "\r\n")
	address := strings.TrimPrefix(k.URL, "http://")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
		return
	}
	_, err = fmt.Fprintf(conn, "%s\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"na", begin, address)
	if err != nil {
		t.Error(err)
		return
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%s: no answer: %v", line, err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusBadRequest {
		t.Errorf("%s: status %d", line, res.StatusCode)
	}
}
