package teamapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// told reads a stream to its end: the ids, and what the events say in a word.
func told(t *testing.T, e *controllertest.Events) (ids []string, words []string) {
	t.Helper()
	return toldUntil(t, e, "")
}

// toldUntil reads a stream until it says a word.
func toldUntil(t *testing.T, e *controllertest.Events, last string) (ids []string, words []string) {
	t.Helper()
	for len(words) == 0 || words[len(words)-1] != last {
		event, ok := e.Next()
		if !ok {
			return ids, words
		}
		if event.Name == "end" {
			var end struct{ Reason string }
			if err := json.Unmarshal([]byte(event.Data), &end); err != nil {
				t.Fatal(err)
			}
			words = append(words, "end: "+end.Reason)
			continue
		}
		var entry struct {
			Type             string
			DeploymentStatus string
			ContainerState   struct{ State string }
			Log              []string
			Try              int64
		}
		if err := json.Unmarshal([]byte(event.Data), &entry); err != nil {
			t.Fatalf("%s: %v", event.Data, err)
		}
		word := strconv.FormatInt(entry.Try, 10) + " " + entry.DeploymentStatus + entry.ContainerState.State
		if len(entry.Log) > 0 {
			word += entry.Log[0]
		}
		ids, words = append(ids, event.ID), append(words, word)
	}
	return ids, words
}

func TestADeploymentIsFollowedToItsOutcome(t *testing.T) {
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})
	p.owner.Post(p.path+"/start", nil).Expect(t, http.StatusNoContent)
	// A deploy token may: its pipeline wants to know.
	ids, words := told(t, p.client.Follow(p.path+"/events?until=outcome", ""))
	if len(words) < 4 || words[0] != "1 in-progress" || words[len(words)-1] != "end: outcome" || words[len(words)-2] != "1 successful" {
		t.Fatalf("the stream told %q", words)
	}
	last := 0
	for _, id := range ids {
		n, err := strconv.Atoi(id)
		if err != nil || n <= last {
			t.Errorf("%q comes after %d: %v; the ids are %q", id, last, err, ids)
		}
		last = n
	}
	// What was seen is not told again.
	_, rest := told(t, p.owner.Follow(p.path+"/events?until=outcome", ids[1]))
	if !slices.Equal(rest, words[2:]) {
		t.Errorf("after %s the stream told %q, want %q", ids[1], rest, words[2:])
	}
	// A stream that is open hears of the next release, and of the end of the deployment.
	open := p.owner.Follow(p.path+"/events", ids[len(ids)-1])
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	_, words = toldUntil(t, open, "2 successful")
	p.owner.Delete(p.path).Expect(t, http.StatusNoContent)
	_, rest = told(t, open)
	if words = append(words, rest...); words[0] != "2 in-progress" || words[len(words)-1] != "end: not-found" || !slices.Contains(words, "2 successful") {
		t.Errorf("the open stream told %q", words)
	}
}

func TestFollowingADeploymentThatIsNotThere(t *testing.T) {
	p := newPipeline(t)
	problem(t, p.stranger.Get(p.path+"/events"), http.StatusNotFound)
	problem(t, p.Anonymous(t).Get(p.path+"/events"), http.StatusUnauthorized)
	problem(t, p.owner.Get(p.path+"/events?until=tomorrow"), http.StatusBadRequest)
}
