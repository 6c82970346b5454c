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
