package templatefile_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/templatefile"
)

func TestBuiltInTemplates(t *testing.T) {
	library, err := templatefile.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, found := range library.List() {
		ids = append(ids, found.ID)
		names := map[string]bool{}
		for _, i := range found.Images {
			if i.Config.Name == nil || names[*i.Config.Name] {
				t.Errorf("%s: %s has no container name of its own", found.ID, i.Reference)
				continue
			}
			names[*i.Config.Name] = true
			for _, secret := range i.Config.Secrets {
				if secret.Value != "" || !secret.Required || !strings.Contains(found.Description, secret.Key) && !strings.HasPrefix(secret.Key, "M") {
					t.Errorf("%s: the secret %s must be required, without a value, and in the description", found.ID, secret.Key)
				}
			}
		}
	}
	want := "cal-com gitea google-microservices linkace minecraft mlflow self-hosted-gitlab strapi vaultwarden wordpress"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("templates %s, want %s", got, want)
	}
	gitea, ok := library.Find("gitea")
	if !ok || gitea.Registries[1].Details != (registry.Details{Type: registry.Hub, ImageNamePrefix: "gitea"}) || gitea.Images[1].Reference != "gitea:1.22" {
		t.Errorf("gitea: %+v", gitea)
	}
	for _, id := range []string{"", "../templatefile", "nothing"} {
		if _, ok := library.Find(id); ok {
			t.Errorf("found %q", id)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	const head = `{"name":"A","description":"d","technologies":["Docker"],"registries":[{"name":"r","type":"hub","imageNamePrefix":"x"}],`
	for name, content := range map[string]string{
		"no JSON":               `{`,
		"an unknown key":        head + `"images":[{"registry":"r","image":"a:1","config":{}}],"more":1}`,
		"no images":             head + `"images":[]}`,
		"an unknown registry":   head + `"images":[{"registry":"s","image":"a:1","config":{}}]}`,
		"a wrong image":         head + `"images":[{"registry":"r","image":"A B","config":{}}]}`,
		"an unknown config key": head + `"images":[{"registry":"r","image":"a:1","config":{"colour":"red"}}]}`,
		"a wrong value":         head + `"images":[{"registry":"r","image":"a:1","config":{"restartPolicy":"sometimes"}}]}`,
		"a wrong port":          head + `"images":[{"registry":"r","image":"a:1","config":{"ports":{"items":[{"internal":70000}]}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			folder := fstest.MapFS{"a.json": {Data: []byte(content)}, "a.svg": {Data: []byte("<svg/>")}}
			if _, err := templatefile.Read(folder); err == nil || !strings.Contains(err.Error(), "a.json") {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
	if _, err := templatefile.Read(fstest.MapFS{"a.json": {Data: []byte(head + `"images":[{"registry":"r","image":"a:1","config":{}}]}`)}}); err == nil {
		t.Error("a template without a picture was taken")
	}
}
