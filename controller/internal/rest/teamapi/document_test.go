package teamapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// blocks returns the shell commands of docs/api.md, in order.
func blocks(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	found := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllSubmatch(text, -1)
	for _, block := range found {
		script.Write(block[1])
	}
	if len(found) < 6 {
		t.Fatalf("only %d blocks of shell commands in docs/api.md", len(found))
	}
	return script.String()
}

// TestTheDocumentWorksAsItStands runs what docs/api.md tells people to type, on
// a controller that nobody has used yet, and does for the machine that it asks
// to install an agent on.
func TestTheDocumentWorksAsItStands(t *testing.T) {
	c, setupToken := controllertest.NewWithoutAdmin(t)
	const written = "url=http://127.0.0.1:8080\n"
	script := blocks(t)
	if strings.Count(script, written) != 1 {
		t.Fatalf("docs/api.md does not say %q once", written)
	}
	script = "set -eu -o pipefail\n" + strings.Replace(script, written, "url="+c.URL+"\n", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script)
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "SETUP_TOKEN="+setupToken)
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	if err := shell.Start(); err != nil {
		t.Fatalf("this test needs bash, curl and jq: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- shell.Wait() }()

	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	token := func() string { // what the commands have logged in with, "" before
		text, _ := os.ReadFile(filepath.Join(shell.Dir, "curlrc"))
		if found := regexp.MustCompile(`Bearer ([\w.-]+)"`).FindSubmatch(text); found != nil {
			return string(found[1])
		}
		return ""
	}
	for installed := false; ; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("the commands of docs/api.md ended with %v:\n%s", err, &out)
			}
			t.Logf("%s", &out)
			if !installed {
				t.Fatal("they made no node")
			}
			mustRunTheShop(t, c.Anonymous(t).WithToken(token()))
			return
		case <-look.C:
			if installed || token() == "" {
				continue
			}
			if e := awaitedInstallation(t, c, token()); e != nil {
				controllertest.StartAgent(t, t.TempDir(), e, driver)
				installed = true
			}
		}
	}
}

// awaitedInstallation returns what an install script that was made hands over;
// nil while there is none.
func awaitedInstallation(t *testing.T, c *controllertest.Controller, token string) *controllertest.Enrolment {
	t.Helper()
	ann := c.Anonymous(t).WithToken(token)
	r := ann.Get("/api/acme/nodes")
	var nodes []struct{ ID string }
	if r.Status != http.StatusOK || json.Unmarshal(r.Body, &nodes) != nil || len(nodes) == 0 {
		return nil
	}
	var node struct{ Install *struct{ Script string } }
	ann.Get("/api/acme/nodes/"+nodes[0].ID).Expect(t, http.StatusOK).Into(t, &node)
	if node.Install == nil {
		return nil
	}
	e := controllertest.ReadEnrolment(t, node.Install.Script)
	return &e
}

// mustRunTheShop checks what the commands have come to.
func mustRunTheShop(t *testing.T, ann *controllertest.Client) {
	t.Helper()
	var deployments []struct{ ID, Status, Prefix string }
	ann.Get("/api/acme/deployments").Expect(t, http.StatusOK).Into(t, &deployments)
	if len(deployments) != 1 || deployments[0].Prefix != "shop" || deployments[0].Status != "successful" {
		t.Errorf("the deployments are %+v", deployments)
	}
}
