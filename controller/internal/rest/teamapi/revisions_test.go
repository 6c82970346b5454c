package teamapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

// takes tells whether the document names a header of the operation's.
func (o operation) takes(header string) bool {
	return slices.ContainsFunc(o.Parameters, func(p parameter) bool { return p.In == "header" && p.Name == header })
}

// changes are bodies that change what rows stand for, by route; each change is
// another one than the last, told by its number.
func changes(number string) map[string]any {
	const version, one = "/api/{teamSlug}/projects/{projectId}/versions/{versionId}", "/api/{teamSlug}/deployments/{deploymentId}"
	return map[string]any{
		"PUT /api/{teamSlug}/projects/{projectId}": object{"name": "shop", "description": number},
		"PUT " + version:                                     object{"name": "1.0", "changelog": number},
		"PATCH " + version + "/images/{imageId}":             object{"tag": number},
		"PATCH " + one:                                       object{"note": number},
		"PATCH " + one + "/instances/{instanceId}":           object{"config": object{"user": 1000, "environment": []object{{"key": "N", "value": number}}}},
		"PUT /api/{teamSlug}/storages/{storageId}":           object{"name": "files", "url": "s3.example.com", "description": number},
		"PUT /api/{teamSlug}/registries/{registryId}":        object{"name": "own", "type": "unchecked", "details": object{"url": "example.com"}, "description": number},
		"PUT /api/teams/{teamId}":                            object{"name": "Acme " + number, "slug": "acme"},
		"PUT /api/{teamSlug}/notifications/{notificationId}": object{"name": "chat " + number, "type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"node-added"}},
		"PUT /api/{teamSlug}/nodes/{nodeId}":                 object{"name": "one", "description": number},
	}
}

// TestWhatWasChangedMeanwhileIsNotOverwritten tries every route that takes
// If-Match: with the revision that was read it changes, with an older one it
// does not.
func TestWhatWasChangedMeanwhileIsNotOverwritten(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	var routes []operation
	for _, o := range operations(t, k.Controller) {
		if o.takes("If-Match") {
			routes = append(routes, o)
		}
	}
	for key := range changes("") {
		if !slices.ContainsFunc(routes, func(o operation) bool { return o.Method+" "+o.Path == key }) {
			t.Errorf("%s takes no If-Match", key)
		}
	}
	for _, o := range routes {
		done := http.StatusNoContent
		if strings.HasPrefix(o.Path, "/api/{teamSlug}/notifications") {
			done = http.StatusOK
		}
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			path := strings.Split(o.at("", "", x.rows), "?")[0]
			read := func() (tag, body string) {
				r := x.Get(path).Expect(t, http.StatusOK)
				if tag = r.Header.Get("ETag"); len(tag) < 3 || tag[0] != '"' {
					t.Fatalf("ETag %s, want a strong one", tag)
				}
				return tag, string(r.Body)
			}
			stale := func(tag string, body any) {
				t.Helper()
				_, before := read()
				r := x.WithHeader("If-Match", tag).Do(o.Method, path, body)
				problem(t, r, http.StatusPreconditionFailed)
				if r.String(t, "error") != "changed" || r.String(t, "property") != "If-Match" {
					t.Errorf("answer %s", r.Body)
				}
				if _, after := read(); after != before {
					t.Errorf("it was changed from\n%s\nto\n%s", before, after)
				}
			}
			if o.Method == http.MethodDelete {
				stale(`"nothing-like-it"`, nil)
				return // the others are still needed
			}
			body := func(number string) any { return changes(number)[o.Method+" "+o.Path] }
			first, _ := read()
			x.WithHeader("If-Match", first).Do(o.Method, path, body("1")).Expect(t, done)
			second, _ := read()
			if first == second {
				t.Errorf("the change left the ETag %s", first)
			}
			stale(first, body("2"))
			stale(`W/`+second, body("2"))
			x.WithHeader("If-Match", first+", "+second).Do(o.Method, path, body("2")).Expect(t, done)
			x.WithHeader("If-Match", "*").Do(o.Method, path, body("3")).Expect(t, done)
			x.Do(o.Method, path, body("4")).Expect(t, done)
			problem(t, x.WithHeader("If-Match", "unquoted").Do(o.Method, path, body("5")), http.StatusBadRequest)
		})
	}
}

func TestOtherWaysToChangeAThingChangeItsRevision(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	tag := func(path string) string { return x.Get(path).Expect(t, http.StatusOK).Header.Get("ETag") }
	changed := func(what, path string, change func() controllertest.Reply) {
		t.Helper()
		before := tag(path)
		change().Expect(t, http.StatusNoContent)
		if tag(path) == before {
			t.Errorf("%s: still the revision %s", what, before)
		}
	}
	project := "/api/acme/projects/" + x.rows["{projectId}"]
	version := project + "/versions/" + x.rows["{versionId}"]
	other := project + "/versions/" + x.Post(project+"/versions", object{"name": "2.0", "type": "rolling"}).Expect(t, http.StatusCreated).String(t, "id")
	changed("default given", other, func() controllertest.Reply { return x.Put(other+"/default", nil) })
	changed("default taken", other, func() controllertest.Reply { return x.Put(version+"/default", nil) })
	var images []struct{ ID string }
	x.Post(version+"/images", []object{{"registryId": x.rows["{registryId}"], "images": []string{"db:1"}}}).Expect(t, http.StatusCreated).Into(t, &images)
	image := version + "/images/" + x.rows["{imageId}"]
	changed("order", image, func() controllertest.Reply {
		return x.Put(version+"/images/order", []string{images[0].ID, x.rows["{imageId}"]})
	})
	deployment := "/api/acme/deployments/" + x.rows["{deploymentId}"]
	changed("instance", deployment, func() controllertest.Reply {
		return x.Patch(deployment+"/instances/"+x.rows["{instanceId}"], object{"config": object{"user": 1}})
	})
}

func TestOfManyWhoReadTheSameOneChangesIt(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	path := "/api/acme/projects/" + x.rows["{projectId}"] + "/versions/" + x.rows["{versionId}"] + "/images/" + x.rows["{imageId}"]
	who := x.WithHeader("If-Match", x.Get(path).Expect(t, http.StatusOK).Header.Get("ETag"))
	const many = 8
	answers := make(chan int, many)
	for n := range many {
		go func() { answers <- who.Patch(path, object{"tag": strings.Repeat("x", n+1)}).Status }()
	}
	count := map[int]int{}
	for range many {
		count[<-answers]++
	}
	if count[http.StatusNoContent] != 1 || count[http.StatusPreconditionFailed] != many-1 {
		t.Errorf("statuses %v, want one 204 and else 412", count)
	}
}
