package system_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// idleContainers are what an agent is to watch over at rest.
	idleContainers = 100
	// idleTime is how long it is watched doing so.
	idleTime = time.Minute
	// restPauses is how many pauses lie between the deployment and that time.
	restPauses = 10
	// ticksPerSecond is the unit of CPU times in /proc, on every Linux that Go
	// runs on.
	ticksPerSecond = 100
)

// BenchmarkIdleAgent prints what the agent of a node with 100 running containers
// holds in memory and how much of a core it takes while nothing happens.
func BenchmarkIdleAgent(b *testing.B) {
	pushPlain(b)
	c := newController(b)
	n := timedNode{node: c.newTeam(b).installedNode(b), controllerPID: c.pid()}
	n.agentPID = running(b, n.agentName()).State.Pid
	for range b.N {
		crowd := n.newCrowd(b, idleContainers)
		crowd.start(b)
		for range restPauses {
			settle(b) // what the deployment took is given back within a quarter of a minute
		}
		began, spent := time.Now(), cpu(b, n.agentPID)
		most := 0.0
		for time.Since(began) < idleTime {
			settle(b)
			most = max(most, rss(b, n.agentPID))
		}
		spent = cpu(b, n.agentPID) - spent
		figure("dagent_100_idle_containers_rss", most, "MiB", 0)
		fmt.Fprintf(os.Stdout, "\nfigure: dagent_100_idle_containers_cpu\t%.2f\t%%\t-\t-\n", 100*float64(spent)/float64(time.Since(began)))
	}
}

// cpu is the time that a process has run.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	// The name of the program, in parentheses, may have spaces.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		must(b, err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}
