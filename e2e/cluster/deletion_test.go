//go:build linux

package cluster_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/crane/kubetest"
	"fairlead.dev/e2e/client"
)

// neighbour is what others have in the namespace of a deployment: what the agent
// could take for its own, and what it makes itself elsewhere.
const neighbour = `
apiVersion: v1
kind: ConfigMap
metadata: {name: neighbour, labels: {app.kubernetes.io/managed-by: somebody, fairlead.dev/workload: web}}
---
apiVersion: v1
kind: Service
metadata: {name: neighbour, labels: {fairlead.dev/workload: web}}
spec: {selector: {app: neighbour}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: neighbour, labels: {fairlead.dev/deployment: other}}
spec:
  selector: {matchLabels: {app: neighbour}}
  template:
    metadata: {labels: {app: neighbour}}
    spec:
      containers:
      - {name: web, image: "` + kubetest.RegistryHost + `/sample:1"}
`

// everything is what a deployment may be made of.
const everything = "deployments,replicasets,pods,jobs,services,ingresses,configmaps,secrets,persistentvolumeclaims"

// stopped is how many pods of the agent are wanted, and why it stopped itself.
func (s *sample) stopped(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "get", "deployment", "crane", "--namespace", s.agentNamespace(),
		"--output", `jsonpath={.spec.replicas} {.metadata.annotations.fairlead\.dev/stopped}`)
}

func (s *sample) awaitStopped(t *testing.T, why string) {
	t.Helper()
	await(t, deployPatience, "the agent to stop itself", func() (bool, string, error) {
		said := s.stopped(t)
		return strings.HasPrefix(said, "0 ") && strings.Contains(said, why), said, nil
	})
}

// revokeAndEnrolAgain takes the agent's identity, and gives the cluster another.
func (s *sample) revokeAndEnrolAgain(t *testing.T) {
	workloads := s.pods(t, s.prefix)
	must(t, s.team.RevokeToken(t.Context(), s.node))
	s.awaitStopped(t, "revoked")
	if out := s.install(t, ""); !strings.Contains(out, "stopped itself") || !strings.Contains(out, "this script enrols it again") {
		t.Errorf("the script says:\n%s", out)
	}
	s.awaitConnected(t)
	if now := s.stopped(t); now != "1" {
		t.Errorf("enrolled again, the agent's Deployment says %q, want one pod and no word of before", now)
	}
	if now := s.pods(t, s.prefix); now != workloads {
		t.Errorf("the workloads' pods are %q, want them as before: %q", now, workloads)
	}
}

// deleteWithContainers deletes the node with what runs there, left over from
// deployments that were deleted without it.
func (s *sample) deleteWithContainers(t *testing.T) {
	const lone = "lone"
	project, err := s.team.CreateProject(t.Context(), lone)
	must(t, err)
	_, err = project.AddImage(t.Context(), s.registry, "sample:1", client.Object{"name": "web", "ports": []client.Object{{"internal": 8080}}})
	must(t, err)
	left := s.id
	s.id, err = s.team.CreateDeployment(t.Context(), project.VersionID, s.node, lone)
	must(t, err)
	s.deploy(t, client.Successful, client.KeyValue{Key: "GREETING", Value: "left over too"})
	out, err := s.sh(t, fmt.Sprintf("printf '%%s' '%s' | kubectl apply --namespace %s --filename -", neighbour, s.prefix))
	if err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	s.kubectl(t, "rollout", "status", "deployment/neighbour", "--namespace", s.prefix, "--timeout", "180s")
	theirs := func() string {
		return s.kubectl(t, "get", everything, "--namespace", s.prefix, "--selector", "app.kubernetes.io/managed-by!=fairlead", "--output", "jsonpath={.items[*].metadata.uid}")
	}
	ours := func() string {
		return s.kubectl(t, "get", everything, "--all-namespaces", "--selector", "app.kubernetes.io/managed-by=fairlead", "--output", "name")
	}
	before, claim := theirs(), s.kubectl(t, "get", "persistentvolumeclaims", "--namespace", s.prefix, "--output", "name")

	if err := s.team.DeleteNode(t.Context(), s.node, "remove"); err == nil || !strings.Contains(err.Error(), "delete them first") {
		t.Fatalf("a node with deployments: %v", err)
	}
	for _, id := range []string{left, s.id} {
		must(t, s.Call(t.Context(), http.MethodDelete, "/api/acme/deployments/"+id+"?containers=keep", nil, nil))
	}
	must(t, s.team.DeleteNode(t.Context(), s.node, "remove"))
	s.awaitStopped(t, "this agent's node was deleted")
	if now := ours(); now != claim {
		t.Errorf("of what it deployed there is\n%s\nwant the volume alone: %s", now, claim)
	}
	if now := theirs(); !sameWords(now, before) {
		t.Errorf("others have %s, want what they had: %s", now, before)
	}
	await(t, nodePatience, "the namespace that held nothing else to go", func() (bool, string, error) {
		out, err := s.tryKubectl(t, "get", "namespace", lone, "--ignore-not-found", "--output", "name")
		return out == "", out, err
	})
	await(t, nodePatience, "the agent's pod to go", func() (bool, string, error) {
		out, err := s.tryKubectl(t, "get", "pods", "--namespace", s.agentNamespace(), "--output", "name")
		return out == "", out, err
	})
	if out := s.again(t, "--uninstall"); !strings.Contains(out, "the agent is removed") {
		t.Errorf("--uninstall says:\n%s", out)
	}
}
