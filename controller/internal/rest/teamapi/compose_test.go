package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
)

const shopOfCompose = `
name: shop
services:
  web:
    image: wordpress:${WORDPRESS:-6}
    ports: ["8080:80"]
    depends_on: [db]
    privileged: true
    environment: {WORDPRESS_DB_HOST: db, WORDPRESS_DB_PASSWORD: "${PASSWORD}"}
  db:
    image: ghcr.io/acme/db:8
    volumes: ["data:/var/lib/mysql"]
volumes: {data: }
`

type composeAnswer struct {
	Name                 string
	ProjectID, VersionID string
	Images               []struct {
		Service, Image, RegistryID, Registry string
		Config                               struct {
			Name        string
			Ports       []struct{ Internal, External int }
			Environment []struct{ Key, Value string }
		}
	}
	Unsupported, Notes []struct{ Path, Reason string }
	MissingRegistries  []string
}

func TestAComposeFileBecomesAProject(t *testing.T) {
	k := newCast(t)
	owner, member := k.people[actor.Owner], k.people[actor.Member]
	const path = "/api/acme/compose"
	body := func(more map[string]any) map[string]any {
		m := map[string]any{"compose": shopOfCompose, "variables": map[string]any{"PASSWORD": "hunter2"}}
		for key, value := range more {
			m[key] = value
		}
		return m
	}
	var plan composeAnswer
	member.Post(path, body(map[string]any{"dryRun": true})).Expect(t, http.StatusOK).Into(t, &plan)
	if plan.ProjectID != "" || plan.Name != "shop" || len(plan.Images) != 2 || plan.Images[0].Service != "db" ||
		plan.Images[1].Image != "docker.io/library/wordpress:6" || plan.Images[1].Registry == "" || plan.Images[0].RegistryID != "" ||
		len(plan.Unsupported) != 1 || plan.Unsupported[0].Path != "/services/web/privileged" ||
		len(plan.MissingRegistries) != 1 || plan.MissingRegistries[0] != "ghcr.io" {
		t.Fatalf("plan %+v", plan)
	}
	// A registry that is missing is named, and nobody's is used in its place.
	if p := member.Post(path, body(map[string]any{"acceptUnsupported": true})).Expect(t, http.StatusPreconditionFailed); !strings.Contains(p.String(t, "detail"), "ghcr.io") {
		t.Errorf("without a registry: %s", p.String(t, "detail"))
	}
	registry := owner.Post("/api/acme/registries", map[string]any{"name": "ours", "type": "unchecked", "details": map[string]any{"url": "ghcr.io/acme"}}).
		Expect(t, http.StatusCreated).String(t, "id")
	if p := member.Post(path, body(nil)).Expect(t, http.StatusPreconditionFailed); !strings.Contains(p.String(t, "detail"), "/services/web/privileged") {
		t.Errorf("with a key that is not carried over: %s", p.String(t, "detail"))
	}
	var projects []struct{ Name string }
	member.Get("/api/acme/projects").Expect(t, http.StatusOK).Into(t, &projects)
	if len(projects) != 0 {
		t.Errorf("left behind: %v", projects)
	}

	answer := member.Post(path, body(map[string]any{"acceptUnsupported": true})).Expect(t, http.StatusCreated)
	var made composeAnswer
	answer.Into(t, &made)
	location := "/api/acme/projects/" + made.ProjectID
	if answer.Header.Get("Location") != location || len(made.Unsupported) != 1 || len(made.MissingRegistries) != 0 {
		t.Errorf("location %q of %+v", answer.Header.Get("Location"), made)
	}
	var images []struct {
		Name, Tag string
		Registry  struct{ ID string }
		Config    struct {
			Name     string
			Volumes  []struct{ Name, Path string }
			Networks []struct{ Key string }
			Ports    []struct{ External int }
		}
	}
	member.Get(location+"/versions/"+made.VersionID+"/images").Expect(t, http.StatusOK).Into(t, &images)
	if len(images) != 2 || images[0].Name != "db" || images[0].Tag != "8" || images[0].Registry.ID != registry ||
		images[0].Config.Volumes[0].Name != "data" || images[1].Name != "wordpress" || images[1].Config.Name != "web" ||
		images[1].Config.Ports[0].External != 8080 || images[1].Config.Networks[0].Key != "shop_default" {
		t.Errorf("images %+v", images)
	}
	var audit string
	err := onDatabase(t, k.Controller).QueryRow(t.Context(),
		"select data::text from audit_log where event = 'compose.import'").Scan(&audit)
	if err != nil || !strings.Contains(audit, made.ProjectID) || strings.Contains(audit, "hunter2") {
		t.Errorf("audit %s, %v", audit, err)
	}

	problem(t, member.Post(path, body(map[string]any{"acceptUnsupported": true})), http.StatusConflict)
	problem(t, member.Post(path, body(map[string]any{"compose": "services: [", "name": "x"})), http.StatusBadRequest)
	problem(t, k.stranger.Post(path, body(nil)), http.StatusNotFound)
	versionless := member.Post(path, map[string]any{"compose": "services: {a: {image: nginx}, nginx: {image: a}}", "name": "plain", "type": "versionless"}).
		Expect(t, http.StatusCreated).String(t, "projectId")
	var detail struct{ Type string }
	member.Get("/api/acme/projects/"+versionless).Expect(t, http.StatusOK).Into(t, &detail)
	if detail.Type != "versionless" {
		t.Errorf("type %q", detail.Type)
	}
}
