package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

// TestEdgeComesFromTheControllerAndServesByDomain deploys something exposed on
// a node that has no proxy: its agent gets one from the controller, and takes
// it along when it is uninstalled.
func TestEdgeComesFromTheControllerAndServesByDomain(t *testing.T) {
	t.Parallel()
	n := newController(t).newTeam(t).newNode(t)
	removeEdge := func() {
		for kind, list := range map[string][]string{"container": {"ps", "--all"}, "network": {"network", "ls"}} {
			for _, id := range lines(try("docker", append(list, "--quiet", "--filter", "label=dev.fairlead.edge="+n.rootPath+"/edge")...)) {
				try("docker", kind, "rm", "--force", id)
			}
		}
	}
	t.Cleanup(removeEdge)
	port := freePort(t)
	script, err := n.CreateScript(t.Context(), n.id, n.rootPath)
	must(t, err)
	line := fmt.Sprintf("DAGENT_HTTP_PORT=%d DAGENT_HTTPS_PORT=%d %s", port, freePort(t), script.Command)
	if out, err := shell(t, "-c", line); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	n.awaitConnected(t)

	d := n.newSample(t, client.Object{"expose": "expose", "routing": client.Object{"domain": "shop.test", "port": 8080}})
	d.deploy(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/info", port), nil)
	must(t, err)
	ask.Host = "shop.test"
	answer, err := http.DefaultClient.Do(ask)
	must(t, err)
	defer answer.Body.Close()
	var info struct {
		Greeting string `json:"greeting"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&info); err != nil || info.Greeting != "hello" {
		t.Errorf("shop.test is answered with %s and %q (%v), want the sample's greeting", answer.Status, info.Greeting, err)
	}
	edge := lines(docker(t, "ps", "--no-trunc", "--quiet", "--filter", "label=dev.fairlead.edge="+n.rootPath+"/edge"))
	if len(edge) != 1 {
		t.Fatalf("%d proxies of this agent run, want 1", len(edge))
	}
	if got := docker(t, "image", "inspect", "--format", "{{index .RepoTags 0}}", running(t, edge[0]).Image); got != "fairlead/edge:"+programVersion {
		t.Errorf("the proxy runs the image %s, which is not the controller's", got)
	}

	must(t, d.DeleteDeployment(t.Context(), d.id))
	await(t, nodePatience, "the deployed container to go", func() (bool, string, error) {
		left := under(t, d.prefix)
		return len(left) == 0, fmt.Sprint(left), nil
	})
	if out, err := shell(t, n.rootPath+"/install.sh", "--uninstall"); err != nil {
		t.Fatalf("uninstall: %v\n%s", err, out)
	}
	if _, there := inspect(t, edge[0]); there {
		t.Error("the proxy is there without its agent")
	}
	if left, err := os.ReadDir(n.rootPath); err == nil {
		t.Errorf("left in the agent's folder: %v", left)
	}
}
