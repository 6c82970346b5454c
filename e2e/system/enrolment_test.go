package system_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestTokensThatEnrolNobody runs install scripts that must not make a node.
// Each leaves the machine as it was, and says why.
func TestTokensThatEnrolNobody(t *testing.T) {
	t.Parallel()
	database := newPostgreSQL(t)
	c := newController(t, "DATABASE_URL="+database.url())
	tm := c.newTeam(t)

	t.Run("expired", func(t *testing.T) {
		n := tm.newNode(t)
		script := n.newScript(t)
		database.query(t, "UPDATE installations SET expires_at = now() - interval '1 second' WHERE node_id = '"+n.id+"'")
		n.mustNotEnrol(t, script, "the enrolment token expired at")
		_, err := n.FetchScript(t.Context(), n.id)
		mustBeStatus(t, err, http.StatusNotFound)
	})

	t.Run("expired by the script's own clock", func(t *testing.T) {
		n := tm.newNode(t)
		script := assign(t, n.newScript(t), "EXPIRES_EPOCH", "1000000000")
		n.mustNotEnrol(t, script, "the token in this script expired")
	})

	t.Run("malformed", func(t *testing.T) {
		n := tm.newNode(t)
		n.mustNotEnrol(t, withToken(t, n.newScript(t), "not-a-token"), "the enrolment token is not one of this controller's")
	})

	t.Run("superseded by a newer script", func(t *testing.T) {
		n := tm.newNode(t)
		older := n.newScript(t)
		n.newScript(t)
		n.mustNotEnrol(t, older, "the enrolment token is not one of this controller's")
	})

	t.Run("wrong root pin", func(t *testing.T) {
		n := tm.newNode(t)
		script := n.newScript(t)
		pin := regexp.MustCompile(`"rootSha256":"[0-9a-f]{64}"`)
		wrong := pin.ReplaceAllString(script, `"rootSha256":"`+strings.Repeat("0123456789abcdef", 4)+`"`)
		n.mustNotEnrol(t, wrong, "whose root this agent does not trust")
		// The token went to nobody: it is still good.
		if out, err := runScript(t, script); err != nil {
			t.Fatalf("with the right pin: %v\n%s", err, out)
		}
		n.awaitConnected(t)
	})

	t.Run("used", func(t *testing.T) {
		n := tm.newNode(t)
		script := n.newScript(t)
		for range 2 { // looking at it does not use it up
			if fetched, err := n.FetchScript(t.Context(), n.id); err != nil || fetched != script {
				t.Fatalf("fetching the script: %v; the same: %t", err, fetched == script)
			}
		}
		if out, err := runScript(t, script); err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
		n.awaitConnected(t)
		_, err := n.FetchScript(t.Context(), n.id)
		mustBeStatus(t, err, http.StatusNotFound)
		// Again on the same machine it finds everything in order.
		if out, err := runScript(t, script); err != nil || !strings.Contains(out, "nothing to do") {
			t.Errorf("run again: %v\n%s", err, out)
		}
		// On another machine it gets nowhere, and the node stays who it is.
		thief := &node{team: n.team, id: n.id, rootPath: filepath.Join(tempDir(t), "agent")}
		elsewhere := assign(t, assign(t, script, "ROOT_PATH", thief.rootPath), "CONTAINER", unique())
		if out, err := runScript(t, elsewhere); err == nil || !strings.Contains(out, "the enrolment token was used already") {
			t.Errorf("run elsewhere: %v\n%s", err, out)
		}
		thief.mustHaveNoState(t)
		if seen, err := n.Node(t.Context(), n.id); err != nil || seen.Status != "connected" {
			t.Errorf("the node is %+v (%v)", seen, err)
		}
	})
}

// newScript makes a node's install script and returns its text.
func (n *node) newScript(t testing.TB) string {
	t.Helper()
	script, err := n.CreateScript(t.Context(), n.id, n.rootPath)
	must(t, err)
	return script.Script
}

// mustNotEnrol runs a script that has to fail, say why and leave nothing.
func (n *node) mustNotEnrol(t testing.TB, script, why string) {
	t.Helper()
	if out, err := runScript(t, script); err == nil || !strings.Contains(out, why) {
		t.Errorf("the script ended with %v, want a failure that says %q:\n%s", err, why, out)
	}
	if name := n.agentName(); name != "" {
		t.Errorf("the container %s is left", name)
	}
	n.mustHaveNoState(t)
	if seen, err := n.Node(t.Context(), n.id); err != nil || seen.HasToken || seen.Status == "connected" {
		t.Errorf("the node is %+v (%v)", seen, err)
	}
}

func (n *node) mustHaveNoState(t testing.TB) {
	t.Helper()
	if left, err := os.ReadDir(n.rootPath); !os.IsNotExist(err) {
		t.Errorf("the state folder is left: %v (%v)", left, err)
	}
}

// assign gives a variable at the head of a script another value.
func assign(t testing.TB, script, name, value string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + `='[^']*'$`)
	if len(line.FindAllString(script, -1)) != 1 {
		t.Fatalf("the script does not set %s once", name)
	}
	return line.ReplaceAllLiteralString(script, name+"='"+value+"'")
}

var handedToken = regexp.MustCompile(`"token":"([^"]+)"`)

// withToken puts another token into a script.
func withToken(t testing.TB, script, token string) string {
	t.Helper()
	if len(handedToken.FindAllString(script, -1)) != 1 {
		t.Fatal("the script does not have one token")
	}
	return handedToken.ReplaceAllLiteralString(script, `"token":"`+token+`"`)
}

func tokenOf(t testing.TB, script string) string {
	t.Helper()
	found := handedToken.FindStringSubmatch(script)
	if found == nil {
		t.Fatal("the script has no token")
	}
	return found[1]
}

func mustBeStatus(t testing.TB, err error, want int) {
	t.Helper()
	if got := client.StatusOf(err); got != want {
		t.Errorf("the API answered %v, want status %d", err, want)
	}
}
