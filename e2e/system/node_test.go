package system_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fairlead.dev/e2e/client"
)

// node is this machine as a node of a team: an agent with a state folder of
// its own, and whatever it runs.
type node struct {
	*team
	id       string
	rootPath string
	prefixes []string
}

// newNode makes a node without an agent. With the test it goes, and everything
// under its prefixes.
func (tm *team) newNode(t testing.TB) *node {
	t.Helper()
	id, err := tm.CreateNode(t.Context(), unique())
	must(t, err)
	n := &node{team: tm, id: id, rootPath: filepath.Join(tempDir(t), "agent")}
	t.Cleanup(func() {
		if name := n.agentName(); t.Failed() && name != "" {
			out, _ := exec.Command("docker", "logs", "--tail", "40", name).CombinedOutput()
			t.Logf("the agent's last lines:\n%s", out)
		}
		n.remove()
		_ = os.RemoveAll("/run/fairlead-agent-" + id[:8]) // where the agent kept secret files
	})
	return n
}

// installedNode makes a node whose agent is installed and connected.
func (tm *team) installedNode(t testing.TB) *node {
	t.Helper()
	n := tm.newNode(t)
	n.install(t)
	return n
}

// install runs the line that a person pastes, with options at its end, and
// waits until the agent is connected.
func (n *node) install(t testing.TB, options ...string) {
	t.Helper()
	script, err := n.CreateScript(t.Context(), n.id, n.rootPath)
	must(t, err)
	line := script.Command
	for _, option := range options {
		line += " " + option
	}
	if out, err := shell(t, "-c", line); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	n.awaitConnected(t)
}

// runScript runs the text of a script, as somebody does who saved it.
func runScript(t testing.TB, script string, options ...string) (output string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "install.sh")
	must(t, os.WriteFile(file, []byte(script), 0o600))
	return shell(t, append([]string{file}, options...)...)
}

func shell(t testing.TB, args ...string) (output string, err error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", args...).CombinedOutput()
	return string(out), err
}

func (n *node) awaitConnected(t testing.TB) { n.awaitStatus(t, "connected") }

func (n *node) awaitStatus(t testing.TB, want string) {
	t.Helper()
	await(t, nodePatience, "the node to be "+want, func() (bool, string, error) {
		seen, err := n.Node(t.Context(), n.id)
		return seen.Status == want, seen.Status + " (" + seen.Liveness + ")", err
	})
}

// awaitListed waits until the API lists exactly these containers of a prefix,
// each as its name and state.
func (n *node) awaitListed(t testing.TB, prefix string, want ...string) {
	t.Helper()
	await(t, nodePatience, fmt.Sprintf("the API to list the containers %q", want), func() (bool, string, error) {
		list, err := n.Containers(t.Context(), n.id, prefix)
		var seen []string
		for _, c := range list {
			seen = append(seen, c.ID.Name+" "+c.State)
		}
		slices.Sort(seen)
		return slices.Equal(seen, want), fmt.Sprintf("%q", seen), err
	})
}

// agentName is the name of the agent's container, empty when there is none.
func (n *node) agentName() string {
	for _, name := range lines(try("docker", "ps", "--all", "--format", "{{.Names}}", "--filter", "label=dev.fairlead.agent="+n.id)) {
		return name
	}
	return ""
}

// newPrefix returns a prefix whose containers and volumes go with the node.
func (n *node) newPrefix() string {
	prefix := unique()
	n.prefixes = append(n.prefixes, prefix)
	return prefix
}

func (n *node) remove() {
	// The agent first: it would bring its containers back.
	for _, id := range lines(try("docker", "ps", "--all", "--quiet", "--filter", "label=dev.fairlead.agent="+n.id)) {
		try("docker", "rm", "--force", "--volumes", id)
	}
	for _, prefix := range n.prefixes {
		label := "label=dev.fairlead.prefix=" + prefix
		for _, id := range lines(try("docker", "ps", "--all", "--quiet", "--filter", label)) {
			try("docker", "rm", "--force", "--volumes", id)
		}
		for _, name := range lines(try("docker", "volume", "ls", "--quiet", "--filter", label)) {
			try("docker", "volume", "rm", name)
		}
		for _, name := range lines(try("docker", "network", "ls", "--format", "{{.Name}}", "--filter", "name="+prefix)) {
			try("docker", "network", "rm", name)
		}
	}
}

// deployed is the sample application as a deployment of a node.
type deployed struct {
	*node
	project *client.Project
	// image and id name the image in its version, and the deployment.
	image, id string
	prefix    string
	port      int
}

// newSample places the sample on the node, published on a free port, and does
// not start it. What config says comes on top.
func (n *node) newSample(t testing.TB, config client.Object) *deployed {
	t.Helper()
	d := &deployed{node: n, prefix: n.newPrefix(), port: freePort(t)}
	whole := client.Object{
		"name":  "web",
		"ports": []client.Object{{"internal": 8080, "external": d.port, "address": "127.0.0.1"}},
	}
	for key, value := range config {
		whole[key] = value
	}
	var err error
	d.project, err = n.CreateProject(t.Context(), d.prefix)
	must(t, err)
	d.image, err = d.project.AddImage(t.Context(), n.registry, "sample:1", whole)
	must(t, err)
	d.id, err = n.CreateDeployment(t.Context(), d.project.VersionID, n.id, d.prefix)
	must(t, err)
	d.setEnvironment(t, "GREETING", "hello")
	return d
}

// container is the name of the sample's container.
func (d *deployed) container() string { return d.prefix + "-web" }
