package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
)

// What the request says of the node's proxy is in the script that answers it.
func TestScriptCarriesTheAddressForTheCertificateAuthority(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	path := "/api/acme/nodes/" + k.rows(t)["{nodeId}"] + "/script"
	ask := func(email string) object {
		return object{"type": "docker", "scriptType": "shell", "dagentTraefik": object{"acmeEmail": email}}
	}
	script := owner.Post(path, ask("o'neil@example.org")).Expect(t, http.StatusCreated).String(t, "script")
	if want := "\nACME_EMAIL='o'\\''neil@example.org'\n"; !strings.Contains(script, want) {
		t.Errorf("the script does not hold %q", want)
	}
	for _, email := range []string{"", "ann", "ann@example.org\nENROLMENT=x", "Ann <ann@example.org>"} {
		reply := owner.Post(path, ask(email)).Expect(t, http.StatusBadRequest)
		if !strings.Contains(string(reply.Body), "dagentTraefik.acmeEmail") {
			t.Errorf("%q is refused without its name: %s", email, reply.Body)
		}
	}
	// An earlier script is not lost to a request that is refused.
	k.Anonymous(t).Get(path).Expect(t, http.StatusOK)
}

// Where the state is to be kept goes into the script as one word, or is refused
// by name.
func TestScriptCarriesTheRootPathOrRefusesIt(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	path := "/api/acme/nodes/" + k.rows(t)["{nodeId}"] + "/script"
	ask := func(rootPath string) object {
		return object{"type": "docker", "scriptType": "shell", "rootPath": rootPath}
	}
	for rootPath, want := range map[string]string{
		"":                    "'/var/lib/fairlead-agent'",
		"/srv/a b":            "'/srv/a b'",
		"/srv/it's":           `'/srv/it'\''s'`,
		`/srv/"$(id)"`:        `'/srv/"$(id)"'`,
		"/srv/`id`;${HOME}\\": "'/srv/`id`;${HOME}\\'",
		"/srv/-rf *":          "'/srv/-rf *'",
	} {
		script := owner.Post(path, ask(rootPath)).Expect(t, http.StatusCreated).String(t, "script")
		if want := "\nROOT_PATH=" + want + "\n"; !strings.Contains(script, want) {
			t.Errorf("%q: the script does not hold %q", rootPath, want)
		}
	}
	for _, rootPath := range []string{
		"/", "//", "/home", "/var/lib", "srv/agent", "./agent", "~/agent", "/srv/../etc/agent", "/srv/agent/..", "/srv/./agent", "/srv//agent", "/srv/agent/",
		"/srv/a\nb", "/srv/a\rb", "/srv/a\tb", "/srv/a\x00b", "/srv/a\u202eb", "/srv/a:ro", "/srv/agent ", "/etc/agent", "/proc/1/root", "/var/run/agent", `C:\agent`,
		"/srv/" + strings.Repeat("a", 1024),
	} {
		reply := owner.Post(path, ask(rootPath)).Expect(t, http.StatusBadRequest)
		if !strings.Contains(string(reply.Body), "rootPath") {
			t.Errorf("%q is refused without its name: %s", rootPath, reply.Body)
		}
	}
}

// A script for PowerShell is signed, and comes with a command of PowerShell.
func TestScriptForPowerShell(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	path := "/api/acme/nodes/" + k.rows(t)["{nodeId}"] + "/script"
	reply := owner.Post(path, object{"type": "docker", "scriptType": "powershell"}).Expect(t, http.StatusCreated)
	script := reply.String(t, "script")
	if !strings.HasSuffix(script, "\r\n# SIG # End signature block\r\n") {
		t.Error("the script does not end in its signature")
	}
	if command := reply.String(t, "command"); !strings.HasPrefix(command, "& { ") || !strings.Contains(command, path) {
		t.Errorf("the command is %s", command)
	}
	if served := k.Anonymous(t).Get(path).Expect(t, http.StatusOK); string(served.Body) != script {
		t.Error("what is served is not, byte by byte, what was made")
	}
	refused := owner.Post(path, object{"type": "docker", "scriptType": "powershell", "rootPath": "/srv/agent"}).Expect(t, http.StatusBadRequest)
	if !strings.Contains(string(refused.Body), "rootPath") {
		t.Errorf("a root path is refused without its name: %s", refused.Body)
	}
	refused = owner.Post(path, object{"type": "k8s", "scriptType": "powershell"}).Expect(t, http.StatusNotImplemented)
	if !strings.Contains(string(refused.Body), "scriptType") {
		t.Errorf("a cluster's script for PowerShell is refused without the key's name: %s", refused.Body)
	}
}
