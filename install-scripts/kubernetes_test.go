package installscripts_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	installscripts "fairlead.dev/install-scripts"
)

// exampleCluster is a complete set of parameters for Kubernetes.
func exampleCluster() installscripts.KubernetesParams {
	p := example()
	return installscripts.KubernetesParams{
		NodeID: p.NodeID, NodeName: p.NodeName, ControllerURL: p.ControllerURL, AgentAddr: p.AgentAddr, RootSHA256: p.RootSHA256,
		Token: p.Token, Expires: p.Expires, Name: "fairlead-2f1c9d6e", Image: "fairlead/crane:1.2.3", Version: p.Version, ReleaseKey: p.ReleaseKey,
		Artifacts: []installscripts.Artifact{
			{Arch: "amd64", Path: "/artifacts/crane/1.2.3/linux-amd64.tar", SHA256: strings.Repeat("a1", 32), Size: 12345678},
			{Arch: "arm64", Path: "/artifacts/crane/1.2.3/linux-arm64.tar", SHA256: strings.Repeat("b2", 32), Size: 11345678},
		},
	}
}

func difficultCluster() installscripts.KubernetesParams {
	p, hard := exampleCluster(), difficult()
	p.NodeName, p.ControllerURL, p.AgentAddr = hard.NodeName, hard.ControllerURL, hard.AgentAddr
	p.Artifacts = p.Artifacts[1:]
	return p
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("it differs from %s; see the change with: go test -run TestGolden -update && git diff", file)
	}
}

func TestGoldenKubernetes(t *testing.T) {
	for name, params := range map[string]installscripts.KubernetesParams{"example": exampleCluster(), "difficult": difficultCluster()} {
		script, err := installscripts.RenderKubernetes(params)
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, "crane-"+name+".sh", script)
	}
}

// runCluster runs a script for Kubernetes, with tools as its PATH when that is
// not empty.
func runCluster(t *testing.T, params installscripts.KubernetesParams, sh shell, path string, options ...string) (string, bool) {
	t.Helper()
	script, err := installscripts.RenderKubernetes(params)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "install.sh")
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	var env []string
	if path != "" {
		env = append(env, "PATH="+path)
	}
	return execute(t, env, append(append(sh[1:len(sh):len(sh)], file), options...), sh[0])
}

// TestGoldenManifest holds what the agent is given in a cluster to its golden
// file, in every shell: crane's tests run with these very rights.
func TestGoldenManifest(t *testing.T) {
	for name, options := range map[string][]string{
		"crane-cluster.yaml": {"--manifest"},
		"crane-limited.yaml": {"--manifest", "--namespaces", "shop,blog", "--image", "registry.example.org/crane@sha256:" + strings.Repeat("c3", 32), "--pull-secret", "pull"},
	} {
		for _, sh := range []shell{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
			out, ok := runCluster(t, exampleCluster(), sh, "", options...)
			if !ok {
				t.Fatalf("%v %v: %s", sh, options, out)
			}
			compareGolden(t, name, []byte(out))
		}
	}
}

// TestRightsAreLeast says of the manifest what no line of it may say.
func TestRightsAreLeast(t *testing.T) {
	for _, options := range [][]string{{"--manifest"}, {"--manifest", "--namespaces", "shop,blog"}} {
		out, ok := runCluster(t, exampleCluster(), dash, "", options...)
		if !ok {
			t.Fatal(out)
		}
		rights, _, _ := strings.Cut(out, "kind: ValidatingAdmissionPolicy\n") // its wildcards forbid
		for _, word := range []string{"cluster-admin", "escalate", "bind]", "bind,", "impersonate", "*", "nodes", "deletecollection"} {
			if strings.Contains(rights, word) {
				t.Errorf("%v: the agent's rights say %q", options, word)
			}
		}
		for rule := range strings.SplitSeq(rights, "- apiGroups:") {
			named := strings.Contains(rule, "resourceNames:")
			if strings.Contains(rule, "[secrets]") && !named && (strings.Contains(rule, "get") || strings.Contains(rule, "list") || strings.Contains(rule, "watch")) {
				t.Errorf("%v: the agent may read secrets:%s", options, rule)
			}
		}
	}
}

func TestKubernetesScriptRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []string
		want    string
	}{
		"an unknown option":    {[]string{"--frobnicate"}, "unknown option"},
		"a missing value":      {[]string{"--image"}, "--image needs a value"},
		"an image of commands": {[]string{"--manifest", "--image", `a" b: $(id)`}, "characters that do not belong"},
		"a namespace of yaml":  {[]string{"--manifest", "--namespaces", "a}\nb: c"}, "characters that do not belong"},
	} {
		out, ok := runCluster(t, exampleCluster(), dash, "", test.options...)
		if ok || !strings.Contains(out, test.want) {
			t.Errorf("%s: ok %t, want %q:\n%s", name, ok, test.want, out)
		}
	}
	out, ok := runCluster(t, exampleCluster(), dash, tools(t, append([]string{"curl", "openssl"}, coreutils...)...))
	if ok || !strings.Contains(out, "kubectl is not here") || !strings.Contains(out, "nothing was changed") {
		t.Errorf("without kubectl: ok %t\n%s", ok, out)
	}
}

func TestKubernetesScriptHidesItsToken(t *testing.T) {
	t.Parallel()
	out, ok := runCluster(t, exampleCluster(), dash, "", "--show")
	if !ok || strings.Contains(out, exampleCluster().Token) || !strings.Contains(out, "namespace=fairlead-2f1c9d6e") {
		t.Errorf("--show: ok %t\n%s", ok, out)
	}
}

func TestKubernetesScriptsAreShell(t *testing.T) {
	t.Parallel()
	for _, params := range []installscripts.KubernetesParams{exampleCluster(), difficultCluster()} {
		script, err := installscripts.RenderKubernetes(params)
		if err != nil {
			t.Fatal(err)
		}
		check := exec.CommandContext(t.Context(), "shellcheck", "--shell", "sh", "--exclude", "SC2016", "-")
		check.Stdin = bytes.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("shellcheck: %v\n%s", err, out)
		}
		if out, ok := runCluster(t, params, dash, "", "--show"); !ok || !strings.Contains(out, "name="+params.NodeName+"\n") {
			t.Errorf("the node's name does not come through whole:\n%s", out)
		}
	}
}

func TestKubernetesParamsAreRefused(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*installscripts.KubernetesParams){
		"Name":     func(p *installscripts.KubernetesParams) { p.Name = "Fairlead_1" },
		"Wait":     func(p *installscripts.KubernetesParams) { p.Wait = 48 * time.Hour },
		"NodeName": func(p *installscripts.KubernetesParams) { p.NodeName = "a\nb" },
		"Token":    func(p *installscripts.KubernetesParams) { p.Token = "a'b" },
	} {
		params := exampleCluster()
		change(&params)
		_, err := installscripts.RenderKubernetes(params)
		var refused *installscripts.FieldError
		if !errors.As(err, &refused) || refused.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
