//go:build linux

package cluster_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// manyEach is how many workloads each of many deployments has.
	manyEach = 50
	// playedNodes can take 1,000 pods each.
	playedNodes = 5
	// restTime is how long an agent is left alone before it is looked at, and
	// watchTime for how long it then is.
	restTime  = 30 * time.Second
	watchTime = 2 * time.Minute
)

// BenchmarkIdleAgent prints what the agent of a cluster holds in memory with 100
// and with 2,000 workloads that nothing happens to, how much of it is its own
// and how much is of its program's file, and how many requests it then makes of
// the API server beside its watches, by what that wrote down. The workloads are
// deployed through the API; their pods are on nodes that kwok plays
// (scripts/ensure-kwok.sh builds it), so that 2,000 fit. IdleAgent/100 is the
// smaller alone.
func BenchmarkIdleAgent(b *testing.B) {
	s := newInstalled(b)
	s.playNodes(b)
	deployed := 0
	for _, size := range []int{100, 2000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			for range b.N {
				began := time.Now()
				for deployed < size {
					s.newCrowd(b, fmt.Sprintf("many-%d", deployed/manyEach), manyEach).deploy(b)
					deployed += manyEach
				}
				b.Logf("%d workloads after %s", size, time.Since(began))
				pause(b, restTime)
				process, most := s.agentProcess(b), memory{}
				began = time.Now()
				for time.Since(began) < watchTime {
					settle(b)
					if now := memoryOf(b, process); now.all > most.all {
						most = now
					}
				}
				name := fmt.Sprintf("crane_%d_idle_workloads", size)
				figure(name+"_rss", most.all, "MiB")
				figure(name+"_rss_own", most.own, "MiB")
				figure(name+"_rss_of_files", most.files, "MiB")
				n := s.asked(b, began)
				figure(name+"_requests", n.all/time.Since(began).Seconds(), "1/s")
			}
		})
	}
}

// playNodes has kwok play nodes, to which all further pods go.
func (s *sample) playNodes(b *testing.B) {
	b.Helper()
	program, err := filepath.Abs("../../.tools/kwok")
	must(b, err)
	kwok := exec.CommandContext(b.Context(), program, "--kubeconfig", s.cluster.Kubeconfig(), "--config", program+"-stages.yaml",
		"--manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds", "40", "--cidr", "10.97.0.0/16", "--node-ip", "10.97.0.1")
	var said strings.Builder
	kwok.Stdout, kwok.Stderr = &said, &said
	must(b, kwok.Start())
	b.Cleanup(func() {
		_ = kwok.Process.Kill() // it may have ended
		_ = kwok.Wait()
		if b.Failed() {
			b.Logf("kwok said:\n%s", lastLines(said.String(), 30))
		}
	})
	for i := range playedNodes {
		node := fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"played-%d","annotations":{"kwok.x-k8s.io/node":"fake"}},
			"status":{"allocatable":{"cpu":"1000","memory":"1Ti","pods":"1000"},"capacity":{"cpu":"1000","memory":"1Ti","pods":"1000"}}}`, i)
		out, err := s.sh(b, "printf '%s' '"+node+"' | kubectl create --filename -")
		if err != nil {
			b.Fatalf("make a node: %v\n%s", err, out)
		}
	}
	s.kubectl(b, "cordon", "node-1")
	s.kubectl(b, "wait", "--for=condition=Ready", "node", "--all", "--timeout", "120s")
}
