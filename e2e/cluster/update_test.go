//go:build linux

package cluster_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"fairlead.dev/crane/kubetest"
	"fairlead.dev/e2e/client"
	"fairlead.dev/shared/ociimage"
)

// updatePatience is longer than the new agent has to prove itself and to take
// over, and its image to come to the node.
const updatePatience = 5 * time.Minute

// updatedNode is what the API says of a node's agent and its last update.
type updatedNode struct {
	client.Node
	Updating bool `json:"updating"`
	Update   *struct {
		FromVersion string `json:"fromVersion"`
		ToVersion   string `json:"toVersion"`
		Phase       string `json:"phase"`
		Error       string `json:"error"`
	} `json:"update"`
}

func (n updatedNode) words() string {
	if n.Update == nil {
		return "no update"
	}
	return fmt.Sprintf("%s, version %s, updating %t, %+v", n.Status, n.Version, n.Updating, *n.Update)
}

// become stops the controller and starts one of another build and with other
// agents to serve, on the same state.
func (s *sample) become(t *testing.T, bin, artifacts string) {
	t.Helper()
	s.kill(t)
	s.bin, s.artifacts = bin, artifacts
	s.start(t)
	s.team = &client.Team{Client: s.Client, Slug: "acme"}
	s.awaitConnected(t)
}

// next has the controller be of the next version and serve an agent of it that is
// the real one, started otherwise where entrypoint says so.
func (s *sample) next(t *testing.T, entrypoint ...string) {
	t.Helper()
	artifacts := t.TempDir()
	files := []ociimage.File{
		{Path: "/crane", Source: filepath.Join(nextDir(), "linux-"+runtime.GOARCH, "crane"), Mode: 0o755},
		{Path: "/pause", Source: filepath.Join("../../bin/kube/pause"), Mode: 0o755},
	}
	if entrypoint == nil {
		entrypoint = []string{"/crane"}
	}
	image, err := ociimage.Build(ociimage.Spec{Platform: "linux/" + runtime.GOARCH, Files: files, Entrypoint: entrypoint, User: "65532:65532"})
	must(t, err)
	archive, err := os.Create(archiveIn(artifacts))
	must(t, err)
	must(t, ociimage.WriteArchive(archive, "fairlead/crane:"+nextVersion, image))
	must(t, archive.Close())
	s.become(t, nextDir(), artifacts)
}

// agentRepository is where the cluster's node gets the agent's images.
const agentRepository = kubetest.RegistryHost + "/fairlead/crane"

// pushAgent has the controller bring the agent that it serves there, and returns
// what it calls it.
func (s *sample) pushAgent(t *testing.T) (reference string) {
	t.Helper()
	push := exec.CommandContext(t.Context(), filepath.Join(s.bin, "controller"), "artifacts", "push", "crane", agentRepository, "--artifact-dir", s.artifacts)
	push.Env = s.process.Env
	out, err := push.CombinedOutput()
	if err != nil {
		t.Fatalf("push the agent: %v\n%s", err, out)
	}
	return regexp.MustCompile(regexp.QuoteMeta(agentRepository) + "@sha256:[0-9a-f]{64}").FindString(string(out))
}

// orderUpdate asks for the update; an error is the API's refusal.
func (s *sample) orderUpdate(t *testing.T, options client.Object) error {
	t.Helper()
	return s.Call(t.Context(), http.MethodPost, "/api/acme/nodes/"+s.node+"/update", options, nil)
}

func (s *sample) seen(t *testing.T) (n updatedNode, err error) {
	t.Helper()
	err = s.Call(t.Context(), http.MethodGet, "/api/acme/nodes/"+s.node, nil, &n)
	return n, err
}

// awaitUpdate waits until the last update has come to a phase.
func (s *sample) awaitUpdate(t *testing.T, phases ...string) updatedNode {
	t.Helper()
	var last updatedNode
	deadline := time.Now().Add(updatePatience)
	for {
		n, err := s.seen(t)
		if err == nil && n.Update != nil {
			last = n
			for _, phase := range phases {
				if n.Update.Phase == phase {
					return n
				}
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %v in vain: %s (%v)\n%s", phases, last.words(), err, s.agentState(t))
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// pods are the pods of a namespace, by their ids.
func (s *sample) pods(t *testing.T, namespace string) string {
	t.Helper()
	return s.kubectl(t, "get", "pods", "--namespace", namespace, "--field-selector", "status.phase=Running", "--sort-by", ".metadata.uid",
		"--output", "jsonpath={range .items[*]}{.metadata.uid}:{.status.containerStatuses[0].restartCount} {end}")
}

// strategy is the one of the Deployment, which an update changes and gives back.
func (s *sample) strategy(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "get", "deployment", "crane", "--namespace", s.agentNamespace(), "--output", "jsonpath={.spec.strategy}")
}

// failsAndServesOn has the agent replaced by a build that is no good, and makes sure
// that the pod that was there serves on, that the API says why, and that nothing
// else was touched.
func (s *sample) failsAndServesOn(t *testing.T, why ...string) {
	t.Helper()
	agent, workloads := s.pods(t, s.agentNamespace()), s.pods(t, s.prefix)
	must(t, s.orderUpdate(t, client.Object{}))
	n := s.awaitUpdate(t, "failed", "successful")
	for _, words := range why {
		if n.Update.Phase != "failed" || !strings.Contains(n.Update.Error, words) {
			t.Errorf("the update is %s, want it failed with %q", n.words(), words)
		}
	}
	t.Logf("the API says: %s", n.words())
	if n.Status != "connected" || n.Version != programVersion || n.Updating {
		t.Errorf("the node is %s, want it connected with the agent of before", n.words())
	}
	await(t, nodePatience, "the new agent's pod to go", func() (bool, string, error) {
		now := s.kubectl(t, "get", "pods", "--namespace", s.agentNamespace(), "--output", "name")
		return len(strings.Fields(now)) == 1, now, nil
	})
	if now := s.pods(t, s.agentNamespace()); now != agent {
		t.Errorf("the agent's pods are %q, want that of before: %q", now, agent)
	}
	if now := s.pods(t, s.prefix); now != workloads {
		t.Errorf("the workloads' pods are %q, want them as before: %q", now, workloads)
	}
	if now := s.strategy(t); now != `{"type":"Recreate"}` {
		t.Errorf("the Deployment is left with %s", now)
	}
}

// goBack has the controller be of the version it was at first, and the agent follow.
func (s *sample) goBack(t *testing.T) {
	t.Helper()
	s.become(t, binDir(), filepath.Join(binDir(), "artifacts"))
	if err := s.orderUpdate(t, client.Object{}); err == nil || !strings.Contains(err.Error(), "not newer") {
		t.Errorf("an update to an older build: %v, want it refused", err)
	}
	must(t, s.orderUpdate(t, client.Object{"allowDowngrade": true}))
	if n := s.awaitUpdate(t, "successful", "failed"); n.Update.Phase != "successful" || n.Version != programVersion {
		t.Fatalf("the node is %s\n%s", n.words(), s.agentState(t))
	}
}

// TestUpdatesByTheAPI takes the agent of a cluster through updates, good and bad:
// its steps need those before them.
func TestUpdatesByTheAPI(t *testing.T) {
	serveRegistry(t, ociimage.Credentials{})
	s := newWorld(t).newSample(t, ociimage.Credentials{})
	s.install(t, "--load")
	s.awaitConnected(t)
	s.deploy(t, client.Successful, greeting("hello"))
	s.awaitGreeting(t, "web", "hello")

	// First, since a kubelet hides what it once pulled from pods that name it otherwise.
	t.Run("images that are brought to the nodes", func(t *testing.T) {
		s.next(t)
		s.failsAndServesOn(t, "ErrImageNeverPull", "--load")
		must(t, s.cluster.Import(t.Context(), archiveIn(s.artifacts)))
		must(t, s.orderUpdate(t, client.Object{}))
		if n := s.awaitUpdate(t, "successful", "failed"); n.Update.Phase != "successful" || n.Version != nextVersion {
			t.Fatalf("the node is %s\n%s", n.words(), s.agentState(t))
		}
		s.goBack(t)
		s.again(t, "--image "+s.pushAgent(t))
		s.awaitConnected(t)
	})
	t.Run("a build that ends at once", func(t *testing.T) {
		s.next(t, "/crane", "run", "--log-level", "info")
		s.pushAgent(t)
		s.failsAndServesOn(t, "ended before it proved itself", "exit code 2", `"run" is not understood`)
	})
	t.Run("a build that hangs", func(t *testing.T) {
		s.next(t, "/pause")
		s.pushAgent(t)
		s.failsAndServesOn(t, "did not prove itself within 1m0s", "runs")
	})
	t.Run("a build that is not where the nodes pull", func(t *testing.T) {
		s.next(t)
		s.failsAndServesOn(t, "cannot run the image "+agentRepository+"@sha256:", "PullBackOff", "push the archive")
		s.deploy(t, client.Successful, greeting("still here"))
		s.awaitGreeting(t, "web", "still here")
	})
	t.Run("the agent is killed in the middle", func(t *testing.T) {
		s.next(t, "/pause")
		s.pushAgent(t)
		must(t, s.orderUpdate(t, client.Object{}))
		s.awaitUpdate(t, "proving")
		s.kubectl(t, "delete", "pods", "--namespace", s.agentNamespace(), "--all", "--force", "--grace-period", "0")
		if n := s.awaitUpdate(t, "failed", "successful"); n.Update.Phase != "failed" || n.Version != programVersion {
			t.Errorf("the update is %s", n.words())
		}
		s.awaitConnected(t)
		s.awaitGreeting(t, "web", "still here")
	})
	t.Run("a good build takes over", func(t *testing.T) {
		s.next(t)
		s.pushAgent(t)
		workloads := s.pods(t, s.prefix)
		var rollout struct{ ID, State, Error string }
		must(t, s.Call(t.Context(), http.MethodPost, "/api/acme/rollouts", client.Object{}, &rollout))
		s.awaitUpdate(t, "requested", "preparing", "proving", "taking-over", "successful")
		// Until it takes over the API tells the version that serves.
		if n := s.awaitUpdate(t, "proving", "taking-over", "successful", "failed"); n.Update.Phase == "proving" && (n.Version != programVersion || !n.Updating) {
			t.Errorf("while the new agent proves itself the node is %s", n.words())
		}
		n := s.awaitUpdate(t, "successful", "failed")
		if n.Update.Phase != "successful" || n.Version != nextVersion || n.Updating || n.Status != "connected" {
			t.Fatalf("the node is %s\n%s", n.words(), s.agentState(t))
		}
		await(t, nodePatience, "the rollout to end", func() (bool, string, error) {
			err := s.Call(t.Context(), http.MethodGet, "/api/acme/rollouts/"+rollout.ID, nil, &rollout)
			return rollout.State == "successful", fmt.Sprint(rollout, err), nil
		})
		if now := s.pods(t, s.prefix); now != workloads {
			t.Errorf("the workloads' pods are %q, want them as before: %q", now, workloads)
		}
		if now := s.strategy(t); now != `{"type":"Recreate"}` {
			t.Errorf("the Deployment is left with %s", now)
		}
		s.deploy(t, client.Successful, greeting("by the new agent"))
		s.awaitGreeting(t, "web", "by the new agent")
		// The script, run again, leaves the new agent.
		agent := s.pods(t, s.agentNamespace())
		s.again(t, "")
		if now := s.pods(t, s.agentNamespace()); now != agent {
			t.Errorf("the script, run again, replaced the agent's pod %s by %s", agent, now)
		}
	})
	t.Run("an older build has to be meant", func(t *testing.T) {
		s.goBack(t)
	})
	t.Run("an agent whose token was revoked stops itself, and a new script takes it up again", s.revokeAndEnrolAgain)
	t.Run("the agent of a deleted node removes what it deployed, and stops itself", s.deleteWithContainers)
}
