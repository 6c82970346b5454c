package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
)

const storages = "/api/acme/storages"

func TestStoragesHaveTheirDocumentedShape(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	made := owner.Post(storages, map[string]any{
		"name": "Files", "description": "of the shop", "icon": "box", "url": "https://s3.example.com/shop", "accessKey": "an access", "secretKey": "a secret",
	}).Expect(t, http.StatusCreated)
	one := made.Header.Get("Location")
	if one != storages+"/"+made.String(t, "id") {
		t.Errorf("location %q", one)
	}
	got := owner.Get(one).Expect(t, http.StatusOK)
	wantKeys(t, "storage", got.Object(t), "description", "icon", "url", "id", "name", "accessKey", "secretKey", "inUse")
	for what, reply := range map[string][]byte{"the answer": made.Body, "the detail": got.Body} {
		if strings.Contains(string(reply), "an access") || strings.Contains(string(reply), "a secret") {
			t.Errorf("%s shows the keys: %s", what, reply)
		}
	}
	var list, options []object
	owner.Get(storages).Expect(t, http.StatusOK).Into(t, &list)
	owner.Get(storages+"/options").Expect(t, http.StatusOK).Into(t, &options)
	if len(list) != 1 || len(options) != 1 {
		t.Fatalf("listed %v and %v, want one each", list, options)
	}
	wantKeys(t, "list item", list[0], "description", "icon", "url", "id", "name")
	wantKeys(t, "option", options[0], "id", "name")

	db, err := pgx.Connect(t.Context(), k.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	sealed := func() string {
		var text string
		err := db.QueryRow(t.Context(), "select encode(access_key || secret_key, 'escape') from storages").Scan(&text)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := sealed()
	if before == "" || strings.Contains(before, "access") || strings.Contains(before, "secret") {
		t.Errorf("the database keeps %q", before)
	}
	// What was read can be sent back, and keeps the keys.
	document := got.Object(t)
	delete(document, "id")
	delete(document, "inUse")
	document["name"] = "Goods"
	owner.Put(one, document).Expect(t, http.StatusNoContent)
	if sealed() != before {
		t.Error("a change without keys changed them")
	}
	problem(t, owner.Put(one, map[string]any{"name": "Goods", "url": "elsewhere.example.com"}), http.StatusBadRequest)
	owner.Put(one, map[string]any{"name": "Goods", "url": "elsewhere.example.com", "accessKey": "", "secretKey": ""}).Expect(t, http.StatusNoContent)
	if now := sealed(); now != "" {
		t.Errorf("keys that were taken away are still there: %q", now)
	}
	owner.Delete(one).Expect(t, http.StatusNoContent)
	problem(t, owner.Get(one), http.StatusNotFound)
}

func TestStorageRefuses(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	owner.Post(storages, map[string]any{"name": "Files", "url": "s3.example.com"}).Expect(t, http.StatusCreated)
	tests := map[string]struct {
		body     map[string]any
		status   int
		property string
	}{
		"a name that is taken":         {map[string]any{"name": "Files", "url": "s3.example.com"}, http.StatusConflict, "name"},
		"no name":                      {map[string]any{"name": " ", "url": "s3.example.com"}, http.StatusBadRequest, "name"},
		"a long name":                  {map[string]any{"name": strings.Repeat("x", 71), "url": "s3.example.com"}, http.StatusBadRequest, "name"},
		"no address":                   {map[string]any{"name": "More", "url": ""}, http.StatusBadRequest, "url"},
		"an address of another kind":   {map[string]any{"name": "More", "url": "ftp://s3.example.com"}, http.StatusBadRequest, "url"},
		"an address with no such port": {map[string]any{"name": "More", "url": "s3.example.com:65536"}, http.StatusBadRequest, "url"},
		"an address with a password":   {map[string]any{"name": "More", "url": "https://a:b@s3.example.com"}, http.StatusBadRequest, "url"},
		"an access key without secret": {map[string]any{"name": "More", "url": "s3.example.com", "accessKey": "a"}, http.StatusBadRequest, "secretKey"},
		"a key without end":            {map[string]any{"name": "More", "url": "s3.example.com", "accessKey": "a", "secretKey": strings.Repeat("x", 1025)}, http.StatusBadRequest, "secretKey"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := owner.Post(storages, test.body)
			problem(t, got, test.status)
			if property := got.String(t, "property"); property != test.property {
				t.Errorf("property %q, want %q: %s", property, test.property, got.Body)
			}
			if strings.Contains(string(got.Body), "a:b") {
				t.Errorf("it echoes a password: %s", got.Body)
			}
		})
	}
}

func TestStorageInUseStays(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	owner := k.people[actor.Owner]
	one := storages + "/" + rows["{storageId}"]
	theirs := k.stranger.Post("/api/others/storages", map[string]any{"name": "files", "url": "s3.example.com"}).Expect(t, http.StatusCreated).String(t, "id")
	users := map[string]string{
		"an image":    "/api/acme/projects/" + rows["{projectId}"] + "/versions/" + rows["{versionId}"] + "/images/" + rows["{imageId}"],
		"an instance": "/api/acme/deployments/" + rows["{deploymentId}"] + "/instances/" + rows["{instanceId}"],
	}
	volume := []any{map[string]any{"id": uuid.NewString(), "name": "files", "path": "/files", "type": "rwo"}}
	uses := func(id any) map[string]any {
		return map[string]any{"config": map[string]any{"volumes": volume, "storage": id}}
	}
	for name, path := range users {
		t.Run(name, func(t *testing.T) {
			if used := owner.Get(one).Object(t)["inUse"]; used != false {
				t.Errorf("in use before: %v", used)
			}
			for _, wrong := range []string{theirs, uuid.NewString(), "nonsense", strings.ToUpper(rows["{storageId}"])} {
				got := owner.Patch(path, uses(map[string]any{"storageId": wrong, "path": "files", "bucket": "shop"}))
				problem(t, got, http.StatusNotFound)
				if property := got.String(t, "property"); property != "config.storage.storageId" {
					t.Errorf("property %q", property)
				}
			}
			owner.Patch(path, uses(map[string]any{"storageId": rows["{storageId}"], "path": "files", "bucket": "shop"})).Expect(t, http.StatusNoContent)
			if used := owner.Get(one).Object(t)["inUse"]; used != true {
				t.Errorf("in use: %v", used)
			}
			refused := owner.Delete(one)
			problem(t, refused, http.StatusPreconditionFailed)
			if property := refused.String(t, "property"); property != "id" {
				t.Errorf("property %q", property)
			}
			owner.Patch(path, map[string]any{"config": map[string]any{"storage": nil}}).Expect(t, http.StatusNoContent)
		})
	}
	owner.Delete(one).Expect(t, http.StatusNoContent)
}
