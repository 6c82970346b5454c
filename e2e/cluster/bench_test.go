//go:build linux

package cluster_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
	"fairlead.dev/shared/ociimage"
)

const (
	// crowdSize is how many workloads a timed deployment has.
	crowdSize = 10
	// settlePause lets the cluster finish with what was removed before the next
	// time is taken.
	settlePause = 3 * time.Second
)

// BenchmarkDeployBesideKubectl prints how long a deployment of ten workloads
// takes from the call that starts it until its release is successful, beside
// kubectl applying the same objects on the server and waiting for their rollout,
// in the same cluster, in pairs of which each is in the other order. The objects
// are a ConfigMap, a Service and a Deployment for each workload, word for word
// what the agent made of the deployment before. What the agent asks of the API
// server is what that wrote down.
//
// BENCH_PAIRS is the number of pairs, 8 unless it is set.
func BenchmarkDeployBesideKubectl(b *testing.B) {
	s := newInstalled(b)
	c := s.newCrowd(b, "warm", crowdSize)
	c.deploy(b) // pulls the image
	objects := c.objects(b)
	c.remove(b)
	for range b.N {
		var ours, theirs, again []time.Duration
		var ratios []float64
		var changes, ownChanges, asked []float64
		for i := range pairs(b) {
			deploy := func() {
				c := s.newCrowd(b, fmt.Sprintf("crowd-%d", i), crowdSize)
				settle(b)
				ours = append(ours, c.deploy(b))
				settle(b)
				began := time.Now()
				again = append(again, c.deploy(b))
				n := s.asked(b, began)
				changes, ownChanges, asked = append(changes, n.changes), append(ownChanges, n.ownChanges), append(asked, n.all)
				c.remove(b)
			}
			kubectl := func() {
				settle(b)
				theirs = append(theirs, s.byKubectl(b, fmt.Sprintf("peer-%d", i), objects))
			}
			if i%2 == 0 {
				kubectl()
				deploy()
			} else {
				deploy()
				kubectl()
			}
			ratios = append(ratios, float64(ours[i])/float64(theirs[i]))
		}
		fmt.Fprintf(os.Stdout, "\nfigure: kube_deploy_10_to_successful\t%.0f\tms\t%.0f\t%.2f\n", ms(median(ours)), ms(median(theirs)), median(ratios))
		figure("kube_redeploy_10_unchanged", ms(median(again)), "ms")
		figure("kube_redeploy_10_unchanged_mutating_requests", slices.Max(changes), "requests")
		figure("kube_redeploy_10_unchanged_writes_of_own_state", median(ownChanges), "requests")
		figure("kube_redeploy_10_unchanged_requests", median(asked), "requests")
		figure("crane_idle_rss", memoryOf(b, s.agentProcess(b)).all, "MiB")
	}
}

// figure prints one line of what make bench shows.
func figure(name string, value float64, unit string) {
	fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.4g\t%s\t-\t-\n", name, value, unit)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median[T float64 | time.Duration](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func pairs(b *testing.B) int {
	b.Helper()
	text := os.Getenv("BENCH_PAIRS")
	if text == "" {
		return 8
	}
	n, err := strconv.Atoi(text)
	must(b, err)
	return n
}

func settle(b *testing.B) { pause(b, settlePause) }

func pause(b *testing.B, d time.Duration) {
	b.Helper()
	select {
	case <-time.After(d):
	case <-b.Context().Done():
	}
}

// newInstalled is a cluster with its agent.
func newInstalled(b *testing.B) *sample {
	b.Helper()
	serveRegistry(b, ociimage.Credentials{})
	s := newWorld(b).newSample(b, ociimage.Credentials{})
	s.install(b, "--load")
	s.awaitConnected(b)
	return s
}

// crowd is a deployment of several workloads of one image.
type crowd struct {
	*sample
	id, prefix string
}

func (s *sample) newCrowd(b *testing.B, prefix string, size int) *crowd {
	b.Helper()
	project, err := s.team.CreateProject(b.Context(), prefix)
	must(b, err)
	for i := range size {
		_, err := project.AddImage(b.Context(), s.registry, "sample:1", client.Object{
			"name": fmt.Sprintf("w%d", i), "ports": []client.Object{{"internal": 8080}},
			"environment": []client.Object{{"key": "GREETING", "value": "hello"}},
		})
		must(b, err)
	}
	c := &crowd{sample: s, prefix: prefix}
	c.id, err = s.team.CreateDeployment(b.Context(), project.VersionID, s.node, prefix)
	must(b, err)
	return c
}

// deploy starts a release and returns how long it took to be successful.
func (c *crowd) deploy(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	must(b, c.team.Start(b.Context(), c.id))
	await(b, deployPatience, "the release of "+c.prefix+" to be successful", func() (bool, string, error) {
		seen, err := c.team.Deployment(b.Context(), c.id)
		if err == nil && seen.Status == client.Failed {
			err = errors.New("the deployment failed")
		}
		return seen.Status == client.Successful, seen.Status, err
	})
	return time.Since(began)
}

func (c *crowd) remove(b *testing.B) {
	b.Helper()
	must(b, c.team.DeleteDeployment(b.Context(), c.id))
	c.awaitEmpty(b, c.prefix)
}

func (s *sample) awaitEmpty(b *testing.B, namespace string) {
	b.Helper()
	await(b, deployPatience, "the pods of "+namespace+" to go", func() (bool, string, error) {
		out, err := s.tryKubectl(b, "get", "pods", "--namespace", namespace, "--output", "name")
		return err == nil && (out == "" || strings.HasPrefix(out, "No resources")), out, nil
	})
}

// objects are what the agent's record says that it applied, as a list that
// kubectl reads, with peer in place of the namespace and of whose they are.
func (c *crowd) objects(b *testing.B) string {
	b.Helper()
	encoded := c.kubectl(b, "get", "secret", "fairlead-release", "--namespace", c.prefix, "--output", `jsonpath={.data.objects\.json\.gz}`)
	packed, err := base64.StdEncoding.DecodeString(encoded)
	must(b, err)
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
	must(b, err)
	text, err := io.ReadAll(unpack)
	must(b, err)
	return strings.NewReplacer(
		`"namespace":"`+c.prefix+`"`, `"namespace":"peer"`,
		`"app.kubernetes.io/managed-by":"fairlead"`, `"app.kubernetes.io/managed-by":"peer"`,
	).Replace(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"peer"}},` + strings.TrimPrefix(string(text), "[") + "}")
}

// byKubectl has kubectl make objects in a namespace and wait for them, and takes
// them away again.
func (s *sample) byKubectl(b *testing.B, namespace, objects string) time.Duration {
	b.Helper()
	file := filepath.Join(b.TempDir(), namespace+".json")
	text := strings.NewReplacer(`"namespace":"peer"`, `"namespace":"`+namespace+`"`, `"metadata":{"name":"peer"}`, `"metadata":{"name":"`+namespace+`"}`).Replace(objects)
	must(b, os.WriteFile(file, []byte(text), 0o600))
	began := time.Now()
	s.kubectl(b, "apply", "--server-side", "--filename", file)
	s.kubectl(b, "rollout", "status", "deployment", "--namespace", namespace, "--selector", "app.kubernetes.io/managed-by=peer", "--timeout", "240s")
	took := time.Since(began)
	s.kubectl(b, "delete", "namespace", namespace, "--wait=false")
	s.awaitEmpty(b, namespace)
	return took
}

// memory is what a process holds of it, in MiB: all, of which some are its own
// and some are pages of files.
type memory struct{ all, own, files float64 }

func memoryOf(b *testing.B, process int) (m memory) {
	b.Helper()
	if process == 0 {
		b.Fatal("the agent does not run")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	must(b, err)
	parts := map[string]*float64{"VmRSS": &m.all, "RssAnon": &m.own, "RssFile": &m.files}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if part := parts[name]; part != nil {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			must(b, err)
			*part = kib / 1024
		}
	}
	if m.all == 0 {
		b.Fatalf("process %d says nothing of its memory:\n%s", process, text)
	}
	return m
}
