package system_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestSecretsAreReadableOnTheirNodeAlone enters a secret and looks for it
// everywhere it must not be.
func TestSecretsAreReadableOnTheirNodeAlone(t *testing.T) {
	t.Parallel()
	c := newController(t)
	n := c.newTeam(t).installedNode(t)
	d := n.newSample(t, client.Object{"secrets": []client.Object{{"key": "GREETING", "required": true}}})
	if err := d.Start(t.Context(), d.id); err == nil || !strings.Contains(err.Error(), "secrets") {
		t.Fatalf("a start without the required secret: %v", err)
	}
	instances, err := d.Instances(t.Context(), d.id)
	must(t, err)
	const secret = "only-the-node-reads-this"
	must(t, d.ConfigureInstance(t.Context(), d.id, instances[0].ID, client.Object{
		"secrets": []client.Object{{"key": "GREETING", "required": true, "value": secret}},
	}))
	d.deploy(t)
	d.mustGreet(t, secret)

	var keys []byte
	for _, path := range []string{"/deployments/" + d.id, "/deployments/" + d.id + "/releases", "/deployments/" + d.id + "/instances/" + instances[0].ID + "/secrets"} {
		var raw []byte
		must(t, d.Call(t.Context(), "GET", "/api/"+d.Slug+path, nil, &raw))
		if strings.Contains(string(raw), secret) {
			t.Errorf("%s shows the secret: %s", path, raw)
		}
		keys = raw
	}
	if !strings.Contains(string(keys), `"GREETING"`) {
		t.Errorf("the secrets' keys: %s", keys)
	}
	for _, root := range []string{n.rootPath, c.state} {
		must(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				if content, readErr := os.ReadFile(path); readErr == nil && strings.Contains(string(content), secret) {
					t.Errorf("the secret is in %s", path)
				}
			}
			return nil // what is gone by now holds nothing
		}))
	}

	// Unchanged it is no reason to make the container anew.
	before := running(t, d.container())
	d.deploy(t)
	mustBeUntouched(t, before)
}
