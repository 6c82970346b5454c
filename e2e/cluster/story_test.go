//go:build linux

package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	live "github.com/google/go-containerregistry/pkg/registry"

	"fairlead.dev/crane/kubetest"
	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/ociimage"
)

// hangTime is for how long the API server hangs.
const hangTime = 65 * time.Second

// sample is the sample application in two workloads of one deployment.
type sample struct {
	*world
	team *client.Team
	// registry is the id of the one that the cluster's node pulls from.
	registry string
	node     string
	id       string
	prefix   string
	// saved is the script that the agent was installed with.
	saved string
}

// serveRegistry runs a registry that the cluster's node may pull from with these
// credentials only, none for everybody, with the sample in it.
func serveRegistry(t testing.TB, asks ociimage.Credentials) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", kubetest.RegistryHost)
	must(t, err)
	images := live.New(live.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)))
	private := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != asks.Username || password != asks.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: private, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	image, err := sampleimage.Build(t.Context(), "1")
	must(t, err)
	_, err = ociimage.Push(t.Context(), kubetest.RegistryHost+"/sample:1", image, asks)
	must(t, err)
}

// newSample has the controller know the registry, by its credentials.
func (w *world) newSample(t testing.TB, registry ociimage.Credentials) *sample {
	t.Helper()
	s := &sample{world: w, prefix: "shop"}
	var err error
	s.team, err = w.CreateTeam(t.Context(), "acme")
	must(t, err)
	s.registry, err = s.team.CreateRegistry(t.Context(), "local", kubetest.RegistryHost, registry.Username, registry.Password)
	must(t, err)
	s.node, err = s.team.CreateNode(t.Context(), "cluster")
	must(t, err)
	project, err := s.team.CreateProject(t.Context(), "shop")
	must(t, err)
	probe := client.Object{"port": 8080, "readinessProbe": "/healthz"}
	_, err = project.AddImage(t.Context(), s.registry, "sample:1", client.Object{
		"name": "web", "ports": []client.Object{{"internal": 8080}}, "healthCheckConfig": probe,
		// The volumes of this cluster are root's.
		"user": 0, "volumes": []client.Object{{"name": "data", "path": "/data", "size": "1Mi"}},
	})
	must(t, err)
	_, err = project.AddImage(t.Context(), s.registry, "sample:1", client.Object{
		"name": "helper", "ports": []client.Object{{"internal": 8080}}, "healthCheckConfig": probe,
	})
	must(t, err)
	s.id, err = s.team.CreateDeployment(t.Context(), project.VersionID, s.node, s.prefix)
	must(t, err)
	return s
}

// install pastes the line that the controller makes, with options at its end.
func (s *sample) install(t testing.TB, options string) string {
	t.Helper()
	var script client.Script
	must(t, s.Call(t.Context(), http.MethodPost, "/api/acme/nodes/"+s.node+"/script", client.Object{"type": "k8s", "scriptType": "shell"}, &script))
	out, err := s.sh(t, script.Command+" "+options)
	if err != nil {
		t.Fatalf("install: %v\n%s\n%s\n%s", err, out, s.agentState(t), s.cluster.Logs(15))
	}
	if strings.Contains(out, "fle_") {
		t.Errorf("the script prints its token:\n%s", out)
	}
	s.saved = filepath.Join(filepath.Dir(s.log), "install.sh") // steps to come run it too
	must(t, os.WriteFile(s.saved, []byte(script.Script), 0o600))
	return out
}

// again runs the script that the agent was installed with.
func (s *sample) again(t testing.TB, options string) string {
	t.Helper()
	out, err := s.sh(t, "sh "+s.saved+" "+options)
	if err != nil {
		t.Fatalf("%s: %v\n%s", options, err, out)
	}
	return out
}

// agentNamespace is where the agent is.
func (s *sample) agentNamespace() string { return "fairlead-" + s.node[:8] }

func (s *sample) agentState(t testing.TB) string {
	t.Helper()
	pods, _ := s.tryKubectl(t, "describe", "pods", "--namespace", s.agentNamespace())
	logs, _ := s.tryKubectl(t, "logs", "deployment/crane", "--namespace", s.agentNamespace(), "--tail", "40")
	return lastLines(pods, 40) + "\n" + logs
}

func (s *sample) awaitConnected(t testing.TB) {
	t.Helper()
	await(t, nodePatience, "the cluster to be connected", func() (bool, string, error) {
		seen, err := s.team.Node(t.Context(), s.node)
		return err == nil && seen.Status == "connected", fmt.Sprintf("%s (%s) %v", seen.Status, seen.Liveness, err), nil
	})
}

// deploy starts a release with these variables and waits for its outcome.
func (s *sample) deploy(t testing.TB, want string, env ...client.KeyValue) client.Release {
	t.Helper()
	must(t, s.team.SetEnvironment(t.Context(), s.id, env...))
	must(t, s.team.Start(t.Context(), s.id))
	seen, err := s.team.Outcome(t.Context(), s.id, deployPatience)
	releases, listed := s.team.Releases(t.Context(), s.id)
	must(t, listed)
	last := client.Release{}
	for _, r := range releases {
		if r.Number > last.Number {
			last = r
		}
	}
	if err != nil || seen.Status != want {
		t.Fatalf("the deployment is %s (%v), want %s; its last release: %+v, %+v\n%s", seen.Status, err, want, last, last.Failure, s.agentState(t))
	}
	return last
}

// call asks a workload through its Service.
func (s *sample) call(t testing.TB, workload, method, path string, out any) error {
	t.Helper()
	address, err := s.tryKubectl(t, "get", "service", workload, "--namespace", s.prefix, "--output", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return fmt.Errorf("%w: %s", err, address)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	return client.New("http://"+address+":8080").Call(ctx, method, path, nil, out)
}

// awaitGreeting waits until a workload says so through its Service.
func (s *sample) awaitGreeting(t testing.TB, workload, want string) {
	t.Helper()
	await(t, deployPatience, workload+" to answer "+want, func() (bool, string, error) {
		var info struct {
			Greeting string `json:"greeting"`
		}
		err := s.call(t, workload, http.MethodGet, "/info", &info)
		return err == nil && info.Greeting == want, fmt.Sprintf("%q (%v)", info.Greeting, err), nil
	})
}

// sameWords reports whether two lists have the same words.
func sameWords(a, b string) bool {
	sorted := func(text string) string { return strings.Join(slices.Sorted(slices.Values(strings.Fields(text))), " ") }
	return sorted(a) == sorted(b)
}

func greeting(text string) client.KeyValue { return client.KeyValue{Key: "GREETING", Value: text} }

// TestTheWholeWay goes the way of a cluster: its steps need those before them.
func TestTheWholeWay(t *testing.T) {
	registry := ociimage.Credentials{Username: "puller", Password: "a password for images"}
	serveRegistry(t, registry)
	s := newWorld(t).newSample(t, registry)

	if out := s.install(t, "--load --dry-run"); !strings.Contains(out, "nothing was changed") {
		t.Errorf("--dry-run says:\n%s", out)
	}
	if out, err := s.tryKubectl(t, "get", "namespace", s.agentNamespace()); err == nil {
		t.Errorf("--dry-run made something: %s", out)
	}
	s.install(t, "--load")
	s.awaitConnected(t)
	pods := []string{"get", "pods", "--namespace", s.agentNamespace(), "--output", "jsonpath={.items[*].metadata.uid}"}
	before := s.kubectl(t, pods...)
	s.again(t, "")
	if after := s.kubectl(t, pods...); after != before {
		t.Errorf("the script, run again, replaced the agent's pod %s by %s", before, after)
	}

	s.deploy(t, client.Successful, greeting("hello"))
	s.awaitGreeting(t, "web", "hello")
	s.awaitGreeting(t, "helper", "hello")
	must(t, s.call(t, "web", http.MethodPost, "/control/write?path=note&content=remember", nil))

	t.Run("the image comes from a private registry, and its credentials are for its pods alone", func(t *testing.T) {
		kind := s.kubectl(t, "get", "secrets", "--namespace", s.prefix, "--output", `jsonpath={range .items[?(@.type=="kubernetes.io/dockerconfigjson")]}{.metadata.name} {end}`)
		named := s.kubectl(t, "get", "pods", "--namespace", s.prefix, "--output", "jsonpath={.items[*].spec.imagePullSecrets[*].name}")
		if !sameWords(kind, named) || len(strings.Fields(named)) != 2 {
			t.Errorf("the pods name the pull secrets %q, and there are %q", named, kind)
		}
		bare := []string{"run", "bare", "--namespace", "default", "--image", kubetest.RegistryHost + "/sample:1", "--image-pull-policy", "Always", "--restart", "Never"}
		s.kubectl(t, bare...)
		await(t, deployPatience, "a pod without credentials to be refused the image", func() (bool, string, error) {
			out, err := s.tryKubectl(t, "get", "pod", "bare", "--namespace", "default", "--output", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
			return strings.Contains(out, "401") || strings.Contains(out, "authoriz"), out, err
		})
		s.kubectl(t, "delete", "pod", "bare", "--namespace", "default", "--wait=false")
	})

	t.Run("deploying the same again changes nothing", func(t *testing.T) {
		began := time.Now()
		s.deploy(t, client.Successful, greeting("hello"))
		for _, r := range s.requestsSince(t, began) {
			// What the agent itself has to remember is no change of the workloads.
			if r.Changes() && r.Namespace != s.agentNamespace() {
				t.Errorf("the agent asked the API server to %s", r)
			}
		}
	})

	t.Run("a bad release rolls back by itself", func(t *testing.T) {
		last := s.deploy(t, client.Failed, greeting("broken"), client.KeyValue{Key: "SAMPLE_EXIT_CODE", Value: "7"})
		if f := last.Failure; f == nil || !f.RolledBack || f.ExitCode == nil || *f.ExitCode != 7 {
			t.Errorf("the failure is %+v, want exit code 7 and a way back", f)
		}
		s.awaitGreeting(t, "web", "hello")
	})

	t.Run("logs and restart", func(t *testing.T) {
		lines, err := s.team.ContainerLog(t.Context(), s.node, s.prefix, "web", 20)
		if err != nil || len(lines) == 0 {
			t.Errorf("the log: %q, %v", lines, err)
		}
		must(t, s.team.Act(t.Context(), s.node, s.prefix, "helper", "restart"))
		s.awaitGreeting(t, "helper", "hello")
	})

	t.Run("a pod that is evicted is told of", func(t *testing.T) {
		began := time.Now().Truncate(time.Second) // as a cluster tells times
		pod := s.kubectl(t, "get", "pods", "--namespace", s.prefix, "--selector", "fairlead.dev/workload=web", "--output", "jsonpath={.items[0].metadata.name}")
		eviction := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, pod, s.prefix)
		if out, err := s.sh(t, fmt.Sprintf("printf '%%s' '%s' | kubectl create --raw /api/v1/namespaces/%s/pods/%s/eviction --filename -", eviction, s.prefix, pod)); err != nil {
			t.Fatalf("evict %s: %v\n%s", pod, err, out)
		}
		await(t, deployPatience, "the node's events to tell how and why it ended", func() (bool, string, error) {
			events, err := s.team.ContainerEvents(t.Context(), s.node, s.prefix, "web")
			told := slices.ContainsFunc(events, func(e client.ContainerEvent) bool {
				return !e.At.Before(began) && strings.Contains(e.Reason, "EvictionByEvictionAPI") && strings.Contains(e.Text, e.Reason)
			})
			return told, fmt.Sprintf("%+v", events), err
		})
		s.awaitGreeting(t, "web", "hello")
	})

	t.Run("a command in a pod, and what the agent finds wrong with itself", func(t *testing.T) {
		out, code, err := s.team.Exec(t.Context(), s.node, s.prefix, "web", "/sample", "healthcheck")
		if err != nil || code != 0 {
			t.Errorf("a command that succeeds: code %d, %v\n%s", code, err, out)
		}
		if out, code, err = s.team.Exec(t.Context(), s.node, s.prefix, "web", "/sample", "dance"); err != nil || code == 0 {
			t.Errorf("a command that fails: code %d, %v\n%s", code, err, out)
		}
		found := s.kubectl(t, "exec", "deployment/crane", "--namespace", s.agentNamespace(), "--", "/crane", "doctor")
		if !strings.Contains(found, "Kubernetes 1.") || strings.Contains(found, "FAIL") {
			t.Errorf("the doctor says:\n%s", found)
		}
	})

	t.Run("a change by hand is told of", func(t *testing.T) {
		s.kubectl(t, "scale", "deployment/helper", "--namespace", s.prefix, "--replicas", "2")
		await(t, deployPatience, "the deployment's log to tell of the change", func() (bool, string, error) {
			log, err := s.team.Log(t.Context(), s.id)
			for _, entry := range log {
				if strings.Contains(strings.Join(entry.Log, "\n"), "Deployment helper was changed by kubectl: spec.replicas") {
					return true, "", nil
				}
			}
			return false, fmt.Sprintf("%+v %v", log, err), nil
		})
	})

	t.Run("the API server goes away and comes back", func(t *testing.T) {
		must(t, s.cluster.Kill(t.Context(), kubetest.APIServer))
		node := func() (client.Node, string) {
			seen, err := s.team.Node(t.Context(), s.node)
			return seen, fmt.Sprintf("%s (%s), engine down: %+v, %v", seen.Status, seen.Liveness, seen.EngineDown, err)
		}
		await(t, nodePatience, "the node to say that its engine is down", func() (bool, string, error) {
			seen, words := node()
			return seen.EngineDown != nil, words, nil
		})
		// What is wanted meanwhile waits.
		must(t, s.team.SetEnvironment(t.Context(), s.id, greeting("while it was away")))
		must(t, s.team.Start(t.Context(), s.id))
		await(t, deployPatience, "the deployment to wait for the cluster", func() (bool, string, error) {
			log, err := s.team.Log(t.Context(), s.id)
			for _, entry := range log {
				if strings.Contains(strings.Join(entry.Log, "\n"), "waiting to try again") {
					return true, "", nil
				}
			}
			return false, fmt.Sprintf("%+v %v", log, err), nil
		})
		if seen, words := node(); seen.Status != "connected" || seen.EngineDown == nil {
			t.Errorf("while the API server is away the node is %s", words)
		}
		must(t, s.cluster.Start(kubetest.APIServer))
		seen, err := s.team.Outcome(t.Context(), s.id, deployPatience)
		if err != nil || seen.Status != client.Successful {
			t.Fatalf("what was wanted meanwhile is %s (%v)\n%s", seen.Status, err, s.agentState(t))
		}
		s.awaitGreeting(t, "web", "while it was away")
		await(t, nodePatience, "the node to say that its engine is there", func() (bool, string, error) {
			seen, words := node()
			return seen.EngineDown == nil && seen.Status == "connected", words, nil
		})
	})

	t.Run("the API server hangs for more than a minute", func(t *testing.T) {
		must(t, s.cluster.Freeze(kubetest.APIServer))
		frozen := time.Now()
		must(t, s.team.SetEnvironment(t.Context(), s.id, greeting("while it hung")))
		must(t, s.team.Start(t.Context(), s.id))
		await(t, nodePatience, "a minute to pass with the node connected and its engine down", func() (bool, string, error) {
			seen, err := s.team.Node(t.Context(), s.node)
			if err == nil && seen.Status != "connected" {
				err = fmt.Errorf("after %s the node is %s", time.Since(frozen), seen.Status)
			}
			return seen.EngineDown != nil && time.Since(frozen) > hangTime, fmt.Sprintf("%s, engine down: %+v", seen.Status, seen.EngineDown), err
		})
		must(t, s.cluster.Thaw(kubetest.APIServer))
		seen, err := s.team.Outcome(t.Context(), s.id, deployPatience)
		if err != nil || seen.Status != client.Successful {
			t.Fatalf("what was wanted meanwhile is %s (%v)\n%s", seen.Status, err, s.agentState(t))
		}
		s.awaitGreeting(t, "web", "while it hung")
		await(t, nodePatience, "the node to say that its engine is there", func() (bool, string, error) {
			seen, err := s.team.Node(t.Context(), s.node)
			return seen.EngineDown == nil && seen.Status == "connected", fmt.Sprintf("%s, engine down: %+v", seen.Status, seen.EngineDown), err
		})
	})

	t.Run("an agent that is killed in the middle of hooks runs each once", s.killInHooks)

	t.Run("the controller is killed", func(t *testing.T) {
		s.kill(t)
		s.awaitGreeting(t, "web", "while it hung")
		s.start(t)
		s.team = &client.Team{Client: s.Client, Slug: "acme"}
		s.awaitConnected(t)
		s.deploy(t, client.Successful, greeting("again"))
		s.awaitGreeting(t, "web", "again")
	})

	t.Run("the agent is killed, with what its pod had", func(t *testing.T) {
		s.kubectl(t, "delete", "pods", "--namespace", s.agentNamespace(), "--all", "--force", "--grace-period", "0")
		s.kubectl(t, "rollout", "status", "deployment/crane", "--namespace", s.agentNamespace(), "--timeout", "180s")
		s.awaitConnected(t)
		s.deploy(t, client.Successful, greeting("after the kill"))
		s.awaitGreeting(t, "helper", "after the kill")
	})

	t.Run("the node is drained", func(t *testing.T) {
		s.kubectl(t, "drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout", "180s")
		s.kubectl(t, "uncordon", "node-1")
		s.kubectl(t, "rollout", "status", "deployment/crane", "--namespace", s.agentNamespace(), "--timeout", "180s")
		s.awaitConnected(t)
		s.awaitGreeting(t, "web", "after the kill")
		var note []byte
		if err := s.call(t, "web", http.MethodGet, "/control/read?path=note", &note); err != nil || string(note) != "remember" {
			t.Errorf("the volume holds %q (%v), want what was written to it", note, err)
		}
	})

	t.Run("an uninstalled agent leaves the workloads", func(t *testing.T) {
		s.again(t, "--uninstall")
		await(t, nodePatience, "the agent's namespace to go", func() (bool, string, error) {
			out, err := s.tryKubectl(t, "get", "namespace", s.agentNamespace(), "--ignore-not-found", "--output", "name")
			return err == nil && out == "", out, nil
		})
		for _, kind := range []string{"clusterroles", "clusterrolebindings", "validatingadmissionpolicies"} {
			if out := s.kubectl(t, "get", kind, "--selector", "fairlead.dev/node="+s.node, "--output", "name"); out != "" {
				t.Errorf("left behind: %s", out)
			}
		}
		s.awaitGreeting(t, "web", "after the kill")
		s.awaitGreeting(t, "helper", "after the kill")
	})
}
