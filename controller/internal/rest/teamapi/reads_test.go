package teamapi_test

import (
	"net/http"
	"testing"

	"fairlead.dev/controller/internal/actor"
)

// TestWhatIsAskedTheMostTakesOneStatement asks for a page of each again and
// again: whoever was here a moment ago is known, and all that is shown comes
// from one statement.
func TestWhatIsAskedTheMostTakesOneStatement(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	for _, path := range []string{
		"/api/tokens/{tokenId}",
		"/api/{teamSlug}/projects/{projectId}",
		"/api/{teamSlug}/deployments",
		"/api/{teamSlug}/deployments/{deploymentId}",
		"/api/{teamSlug}/nodes",
		"/api/{teamSlug}/nodes/{nodeId}",
		"/api/{teamSlug}/nodes/{nodeId}/containers",
	} {
		t.Run(path, func(t *testing.T) {
			o := operation{Method: http.MethodGet, Path: path}
			if n := fewestStatements(t, k, x, o, o.at("", "", x.rows)); n != 1 {
				t.Errorf("%d statements, want 1", n)
			}
		})
	}
}
