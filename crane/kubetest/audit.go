//go:build linux

package kubetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// auditPolicy has the API server write down what pods ask of it, but those of the
// cluster itself. A watch is written down when it ends.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
`

func auditLog(dir string) string { return filepath.Join(dir, "logs", "audit.json") }

// Request is something that a service account asked of the API server.
type Request struct {
	At time.Time
	// Verb is get, list, watch, create, update, patch, delete or deletecollection.
	Verb, URI string
	// Namespace is of the object; empty when it is in none.
	Namespace string
}

// Changes reports whether the request was meant to change anything.
func (r Request) Changes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb) && !strings.Contains(r.URI, "dryRun=All")
}

func (r Request) String() string { return r.Verb + " " + r.URI }

// Requests are what a service account has asked of the API server since a moment.
func (c *Cluster) Requests(namespace, account string, since time.Time) (found []Request, err error) {
	file, err := os.Open(auditLog(c.Dir))
	if err != nil {
		return nil, fmt.Errorf("read what was asked of the API server: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb       string    `json:"verb"`
			RequestURI string    `json:"requestURI"`
			At         time.Time `json:"requestReceivedTimestamp"`
			User       struct {
				Username string `json:"username"`
			} `json:"user"`
			ObjectRef struct {
				Namespace string `json:"namespace"`
			} `json:"objectRef"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // it is being written
		}
		if event.User.Username == "system:serviceaccount:"+namespace+":"+account && !event.At.Before(since) {
			found = append(found, Request{At: event.At, Verb: event.Verb, URI: event.RequestURI, Namespace: event.ObjectRef.Namespace})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read what was asked of the API server: %w", err)
	}
	return found, nil
}
