package installscripts_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	installscripts "fairlead.dev/install-scripts"
)

// FuzzRender puts arbitrary text in every free field. Either Render refuses it,
// or the script is shell of the same shape as always and a real shell reads the
// very same values out of it.
func FuzzRender(f *testing.F) {
	d := difficult()
	f.Add(d.NodeName, d.RootPath, d.ControllerURL, d.AgentAddr, d.ContainerName, d.Image, d.Version, d.Token)
	f.Add("a'b", "/a/'b'", "http://a/b", "a:1", "a", "a:b", "1", "t")
	f.Add("'; touch /tmp/owned; '", "/a/$(touch owned)\n", "http://a/'", "a:1;id", "a b", "a:b c", "1'", "t'")
	expected, err := installscripts.Render(example())
	if err != nil {
		f.Fatal(err)
	}
	shape := statements(f, expected)
	f.Fuzz(func(t *testing.T, nodeName, rootPath, controllerURL, agentAddr, containerName, image, version, token string) {
		params := example()
		params.NodeName, params.RootPath, params.ControllerURL, params.AgentAddr = nodeName, rootPath, controllerURL, agentAddr
		params.ContainerName, params.Image, params.Version, params.Token = containerName, image, version, token
		script, err := installscripts.Render(params)
		if err != nil {
			return
		}
		if got := statements(t, script); got != shape {
			t.Fatalf("the script has %d statements, want %d", got, shape)
		}
		if rootPath == "" {
			params.RootPath = installscripts.DefaultRootPath
		}
		if containerName == "" {
			params.ContainerName = installscripts.DefaultContainerName
		}
		command := exec.CommandContext(t.Context(), "sh", "-s", "--", "--show")
		command.Stdin = bytes.NewReader(script)
		command.Env = []string{"PATH=/nonexistent"}
		got, err := command.Output()
		if err != nil {
			t.Fatalf("--show: %v", err)
		}
		want := fmt.Sprintf("node=%s\nname=%s\ncontroller=%s\nagent=%s\nroot=%s\npath=%s\ncontainer=%s\nimage=%s\nversion=%s\nexpires=%s\n",
			params.NodeID, params.NodeName, strings.TrimRight(params.ControllerURL, "/"), params.AgentAddr, params.RootSHA256,
			params.RootPath, params.ContainerName, params.Image, params.Version, "2026-01-02T03:04:05Z")
		if string(got) != want {
			t.Errorf("the shell read\n%q\nwant\n%q", got, want)
		}
	})
}

// statements counts the statements of a POSIX script.
func statements(t testing.TB, script []byte) int {
	t.Helper()
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(bytes.NewReader(script), "install.sh")
	if err != nil {
		t.Fatalf("the script is not POSIX shell: %v", err)
	}
	count := 0
	syntax.Walk(file, func(node syntax.Node) bool {
		if _, is := node.(*syntax.Stmt); is {
			count++
		}
		return true
	})
	return count
}
