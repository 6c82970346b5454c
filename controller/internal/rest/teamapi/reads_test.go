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

// TestAStartTakesFewStatements starts a deployment again and again: what was
// started before makes a start no dearer.
func TestAStartTakesFewStatements(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	o := operation{Method: http.MethodPost, Path: "/api/{teamSlug}/deployments/{deploymentId}/start"}
	path := o.at("", "", x.rows)
	x.Post(path, nil).Expect(t, http.StatusNoContent) // over nothing
	const starts, most = 5, 21                        // with begin and commit
	fewest := 0
	for range starts {
		before := statements(t, k, o)
		x.Post(path, nil).Expect(t, http.StatusNoContent)
		if n := statements(t, k, o) - before; fewest == 0 || n < fewest { // one more when the caller has to be looked up
			fewest = n
		}
	}
	if fewest > most {
		t.Errorf("%d statements, want at most %d", fewest, most)
	}
}
