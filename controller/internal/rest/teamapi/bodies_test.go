package teamapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
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
			problem(t, x.Do(o.Method, path, "{"), http.StatusBadRequest)
			problem(t, x.Do(o.Method, path, `"`+strings.Repeat("x", teamapi.MaxBodyBytes)+`"`), http.StatusRequestEntityTooLarge)
		})
	}
	if tried < 20 {
		t.Errorf("only %d routes with bodies found", tried)
	}
}

// TestABodyThatDoesNotComeIsNotWaitedForLong sends the beginning of a body and
// then nothing, with and without an idempotency key.
func TestABodyThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	k := newCast(t)
	for _, header := range []string{"", "Idempotency-Key: slow\r\n"} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			address := strings.TrimPrefix(k.URL, "http://")
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			body, _ := json.Marshal(object{"name": "slow"})
			_, err = fmt.Fprintf(conn, "POST /api/acme/nodes HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				address, k.people[actor.Owner].Token(), header, len(body), body[:5])
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			defer func() { _ = res.Body.Close() }()
			if res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
}
