//go:build linux

package cluster_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/crane/kubetest"
)

// agentProcess is the number of the agent's process; 0 while there is none.
func (s *sample) agentProcess(t testing.TB) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && (string(text) == "/crane\x00" || strings.HasPrefix(string(text), "/crane\x00run")) { // others end meanwhile
			number, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			must(t, err)
			return number
		}
	}
	return 0
}

// requests are how many the agent has made.
type requests struct {
	// all are those beside watches, changes those that were to change anything but
	// the agent's own namespace, in which ownChanges are.
	all, changes, ownChanges float64
}

func (s *sample) asked(t testing.TB, since time.Time) (n requests) {
	t.Helper()
	for _, r := range s.requestsSince(t, since) {
		switch {
		case r.Verb == "watch":
			continue
		case r.Changes() && r.Namespace == s.agentNamespace():
			n.ownChanges++
		case r.Changes():
			n.changes++
		}
		n.all++
	}
	return n
}

// requestsSince are what the agent has asked of the API server.
func (s *sample) requestsSince(t testing.TB, since time.Time) []kubetest.Request {
	t.Helper()
	all, err := s.cluster.Requests(s.agentNamespace(), "crane", since)
	must(t, err)
	return all
}
