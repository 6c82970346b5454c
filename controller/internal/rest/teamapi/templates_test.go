package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
)

func TestTemplates(t *testing.T) {
	k := newCast(t)
	owner, member := k.people[actor.Owner], k.people[actor.Member]
	var list []struct {
		ID, Name, Description string
		Technologies          []string
	}
	member.Get("/api/templates").Expect(t, http.StatusOK).Into(t, &list)
	if len(list) < 10 {
		t.Fatalf("%d templates, want at least ten", len(list))
	}
	use := func(id, typ, name string) map[string]any {
		return map[string]any{"id": id, "teamSlug": "acme", "type": typ, "name": name}
	}
	for _, template := range list {
		if template.Name == "" || template.Description == "" || len(template.Technologies) == 0 {
			t.Errorf("%+v lacks something", template)
		}
		picture := member.Get("/api/templates/"+template.ID+"/image").Expect(t, http.StatusOK)
		if picture.Header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(string(picture.Body), "<svg") {
			t.Errorf("picture of %s: %s %.20s", template.ID, picture.Header.Get("Content-Type"), picture.Body)
		}
		made := owner.Post("/api/templates", use(template.ID, "versioned", template.ID)).Expect(t, http.StatusCreated)
		if made.Header.Get("Location") != "/api/acme/projects/"+made.String(t, "id") {
			t.Errorf("location %q", made.Header.Get("Location"))
		}
		var detail struct {
			Versions []struct{ ID, Name, Type string }
		}
		owner.Get(made.Header.Get("Location")).Expect(t, http.StatusOK).Into(t, &detail)
		if len(detail.Versions) != 1 || detail.Versions[0].Name != "1.0.0" || detail.Versions[0].Type != "incremental" {
			t.Errorf("versions of %s: %+v", template.ID, detail.Versions)
		}
	}
	var registries []struct{ Name, Type, URL string }
	owner.Get("/api/acme/registries").Expect(t, http.StatusOK).Into(t, &registries)
	seen := map[string]bool{}
	for _, r := range registries {
		if seen[r.Name] {
			t.Errorf("two registries %q", r.Name)
		}
		seen[r.Name] = true
	}
	if !seen["Docker Hub gitea"] {
		t.Errorf("registries %v", registries)
	}
}

func TestATemplatesImagesAreConfigured(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	// The same place under another name is used; the same name for another place is not.
	own := owner.Post("/api/acme/registries", map[string]any{"name": "mine", "type": "hub", "details": map[string]any{"imageNamePrefix": "linkace"}}).
		Expect(t, http.StatusCreated).String(t, "id")
	made := owner.Post("/api/templates", map[string]any{"id": "linkace", "teamSlug": "acme", "type": "versionless", "name": "Links"}).Expect(t, http.StatusCreated)
	var detail struct {
		Versions []struct{ ID string }
	}
	path := made.Header.Get("Location")
	owner.Get(path).Expect(t, http.StatusOK).Into(t, &detail)
	var images []struct {
		Name, Tag string
		Registry  struct{ ID string }
		Config    struct {
			Name     string
			Secrets  []struct{ Key string }
			Networks []struct{ Key string }
			Ports    []struct{ Internal, External int }
		}
	}
	owner.Get(path+"/versions/"+detail.Versions[0].ID+"/images").Expect(t, http.StatusOK).Into(t, &images)
	if len(images) != 2 || images[0].Name != "mariadb" || images[0].Tag != "10.7" || images[1].Registry.ID != own ||
		len(images[1].Config.Ports) != 1 || images[1].Config.Ports[0].External != 6780 || len(images[1].Config.Secrets) != 2 ||
		images[0].Config.Networks[0].Key != images[1].Config.Networks[0].Key {
		t.Errorf("images %+v", images)
	}
}

func TestATemplateIsAppliedWhollyOrNotAtAll(t *testing.T) {
	k := newCast(t)
	owner, member := k.people[actor.Owner], k.people[actor.Member]
	body := func(id, team, name string) map[string]any {
		return map[string]any{"id": id, "teamSlug": team, "type": "versioned", "name": name}
	}
	// A member may make projects, but not the registry that is missing.
	problem(t, member.Post("/api/templates", body("minecraft", "acme", "Game")), http.StatusForbidden)
	member.Post("/api/templates", body("wordpress", "acme", "Site")).Expect(t, http.StatusCreated)
	problem(t, owner.Post("/api/templates", body("minecraft", "acme", "Site")), http.StatusConflict)
	problem(t, owner.Post("/api/templates", body("nothing", "acme", "Other")), http.StatusNotFound)
	problem(t, k.stranger.Post("/api/templates", body("wordpress", "acme", "Theirs")), http.StatusNotFound)
	problem(t, owner.Post("/api/templates", body("wordpress", "acme", " ")), http.StatusBadRequest)
	problem(t, owner.Get("/api/templates/nothing/image"), http.StatusNotFound)
	var projects, registries []struct{ Name string }
	owner.Get("/api/acme/projects").Expect(t, http.StatusOK).Into(t, &projects)
	owner.Get("/api/acme/registries").Expect(t, http.StatusOK).Into(t, &registries)
	if len(projects) != 1 || len(registries) != 1 {
		t.Errorf("left behind: projects %v, registries %v", projects, registries)
	}
}
