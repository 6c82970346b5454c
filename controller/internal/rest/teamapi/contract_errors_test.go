package teamapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

// cannotBeProvoked names the documented errors that nothing can lead to here,
// and why.
func cannotBeProvoked(endpoint string, status int) bool {
	switch fmt.Sprintf("%d %s", status, endpoint) {
	case "401 GET /api/{teamSlug}/nodes/{nodeId}/script", // the machine that fetches it has no account
		"400 POST /api/users/me",                   // takes neither parameters nor a body
		"400 GET /api/{teamSlug}/storages/options": // a slug that no team can have is one of no team: 404
		return true
	}
	return false
}

// TestEveryDocumentedErrorIsAnswered provokes each error that the documentation
// names for an endpoint.
func TestEveryDocumentedErrorIsAnswered(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	checks := newContract(t, k.Controller)
	rows := k.rows(t)
	rows["{teamSlug}"], rows["{teamId}"] = "acme", k.teamID
	taken := takenBodies(t, owner, rows)
	for _, d := range inventory(t) {
		for _, status := range d.Errors {
			if cannotBeProvoked(d.Endpoint, status) {
				continue
			}
			t.Run(fmt.Sprintf("%d %s", status, d.Endpoint), func(t *testing.T) {
				checks.t = t
				var r controllertest.Reply
				switch status {
				case http.StatusUnauthorized:
					r = k.Anonymous(t).Do(d.method(), d.at(rows), nil)
				case http.StatusNotFound:
					r = owner.Do(d.method(), d.nowhere(), d.fitting(t))
				case http.StatusConflict:
					body, known := taken[d.Endpoint]
					if !known {
						t.Fatalf("%s: give this test a body that conflicts", d.Endpoint)
					}
					r = owner.Do(d.method(), d.at(rows), body)
				case http.StatusBadRequest:
					path, body := d.malformed(rows)
					r = owner.Do(d.method(), path, body)
				}
				problem(t, r, status)
				checks.check(d.Endpoint, r)
			})
		}
	}
}

// nowhere is the path of what does not exist.
func (d documented) nowhere() string {
	if strings.Contains(d.path(), "Id}") {
		return d.at(map[string]string{"{teamSlug}": "acme"})
	}
	return d.at(map[string]string{"{teamSlug}": "nobody"})
}

// fitting is a body that fits the endpoint.
func (d documented) fitting(t *testing.T) any {
	t.Helper()
	if d.Request == nil {
		return nil
	}
	return operation{Method: d.method(), Path: d.path(), RequestBody: &struct{ Required bool }{true}}.body(t)
}

// malformed is a request with a body, or else an id, that can't be one.
func (d documented) malformed(rows map[string]string) (path string, body any) {
	if d.Request != nil {
		return d.at(rows), `{"no such key": 1}`
	}
	values := maps.Clone(rows)
	if end := strings.LastIndex(d.path(), "Id}"); end >= 0 {
		values[d.path()[strings.LastIndex(d.path()[:end], "{"):end+3]] = strings.Repeat("x", 101)
	}
	return d.at(values), nil
}

// takenBodies are requests that conflict with what is there, by endpoint.
func takenBodies(t *testing.T, owner *controllertest.Client, rows map[string]string) map[string]any {
	t.Helper()
	second := func(path string, body object) object {
		owner.Post("/api/acme"+path, body).Expect(t, http.StatusCreated)
		return body
	}
	registry := second("/registries", object{"name": "taken", "type": "unchecked", "details": object{"url": "example.com"}})
	storage := second("/storages", object{"name": "taken", "url": "s3.example.com"})
	notification := second("/notifications", object{"name": "taken", "type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"version-created"}})
	node := second("/nodes", object{"name": "taken"})
	project := second("/projects", object{"name": "taken", "type": "versionless"})
	version := second("/projects/"+rows["{projectId}"]+"/versions", object{"name": "taken", "type": "rolling"})
	token := object{"name": "taken", "expirationInDays": 1}
	person := object{"email": "twice@example.com", "firstName": "Twice"}
	owner.Post("/api/teams", object{"name": "Taken", "slug": "taken"}).Expect(t, http.StatusCreated)
	owner.Post("/api/tokens", token).Expect(t, http.StatusCreated)
	owner.Post("/api/teams/"+rows["{teamId}"]+"/users", person).Expect(t, http.StatusCreated)
	owner.Put("/api/acme/deployments/"+rows["{deploymentId}"]+"/token", object{"name": "taken"}).Expect(t, http.StatusCreated)
	const versions = "/api/{teamSlug}/projects/{projectId}/versions"
	return map[string]any{
		"POST /api/{teamSlug}/registries":                      registry,
		"PUT /api/{teamSlug}/registries/{registryId}":          registry,
		"POST /api/{teamSlug}/storages":                        storage,
		"PUT /api/{teamSlug}/storages/{storageId}":             storage,
		"POST /api/{teamSlug}/notifications":                   notification,
		"PUT /api/{teamSlug}/notifications/{notificationId}":   notification,
		"POST /api/{teamSlug}/nodes":                           node,
		"PUT /api/{teamSlug}/nodes/{nodeId}":                   node,
		"POST /api/{teamSlug}/projects":                        project,
		"PUT /api/{teamSlug}/projects/{projectId}":             object{"name": "taken"},
		"POST " + versions:                                     version,
		"PUT " + versions + "/{versionId}":                     object{"name": "taken"},
		"POST /api/teams":                                      object{"name": "Other", "slug": "taken"},
		"PUT /api/teams/{teamId}":                              object{"name": "Other", "slug": "taken"},
		"POST /api/teams/{teamId}/users":                       person,
		"POST /api/{teamSlug}/deployments":                     object{"versionId": rows["{versionId}"], "nodeId": rows["{nodeId}"], "prefix": "shop"},
		"POST /api/{teamSlug}/deployments/{deploymentId}/copy": object{"nodeId": rows["{nodeId}"], "prefix": "shop"},
		"PUT /api/{teamSlug}/deployments/{deploymentId}/token": object{"name": "again"},
		"POST /api/tokens":                                     token,
		"POST /api/templates":                                  object{"type": "versionless", "id": "wordpress", "teamSlug": "acme", "name": "taken"},
	}
}
