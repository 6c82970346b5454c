package teamapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/workload"
)

// succeed starts a deployment and lets its node succeed with it.
func (s *shop) succeed(path, instance, digest string) {
	s.t.Helper()
	s.want(http.StatusNoContent, http.MethodPost, path+"/start", nil)
	s.end(path, instance, digest)
}

// end lets the node succeed with what is under way.
func (s *shop) end(path, instance, digest string) {
	s.t.Helper()
	id := uuid.MustParse(path[len(path)-36:])
	set, err := s.deployments.AssignmentSet(s.t.Context(), s.node)
	if err != nil {
		s.t.Fatal(err)
	}
	err = s.deployments.RecordProgress(s.t.Context(), s.node, []deployment.Status{{
		DeploymentID: id, Generation: set.Assignments[0].Generation, Phase: workload.PhaseSuccessful,
		Digests: map[string]string{instance[len(instance)-36:]: "sha256:" + strings.Repeat(digest, 64)},
	}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) releases(path string) (list []object) {
	s.t.Helper()
	status, _, body := s.call(http.MethodGet, path, nil)
	if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK {
		s.t.Fatalf("got %d %s", status, body)
	}
	return list
}

func TestTheLedgerIsListedShownAndCompared(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	s.succeed(path, instance, "a")
	s.want(http.StatusNoContent, http.MethodPatch, instance, object{"config": object{"environment": []object{{"id": uuid.NewString(), "key": "LEVEL", "value": "two"}}}})
	s.succeed(path, instance, "b")
	s.succeed(path, instance, "b")

	list := s.releases(path + "/releases?skip=1&take=1")
	if len(list) != 1 || list[0]["number"] != 2.0 || list[0]["trigger"] != "api-token" || list[0]["actor"].(object)["type"] != "user" {
		t.Fatalf("got %v", list)
	}
	if digests := list[0]["digests"].([]any); len(digests) != 1 || digests[0].(object)["digest"] != "sha256:"+strings.Repeat("b", 64) {
		t.Errorf("got digests %v", digests)
	}
	shown := s.want(http.StatusOK, http.MethodGet, path+"/releases/2", nil)
	wantKeys(t, "a release", shown, "number", "outcome", "trigger", "actor", "createdAt", "createdBy", "beganAt", "finishedAt",
		"rollbackOf", "configHash", "digests", "failure", "hold", "content", "plan", "secrets")
	web := shown["content"].(object)["containers"].(object)["web"].(object)
	if web["environment"].(object)["LEVEL"] != "two" {
		t.Errorf("got %v", web)
	}
	compared := s.want(http.StatusOK, http.MethodGet, path+"/releases/1/compare/2", nil)
	got := map[string]object{}
	for _, one := range compared["differences"].([]any) {
		got[one.(object)["pointer"].(string)] = one.(object)
	}
	if len(got) != 2 || got["/containers/web/environment/LEVEL"]["change"] != "added" || got["/containers/web/image/digest"]["change"] != "changed" {
		t.Errorf("got %v", compared)
	}
	if p := s.want(http.StatusNotFound, http.MethodGet, path+"/releases/9", nil); p["property"] != "number" {
		t.Errorf("got %v", p)
	}
}

func TestRollingBackAndHolding(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	s.succeed(path, instance, "a")
	s.succeed(path, instance, "b")
	status, header, body := s.call(http.MethodPost, path+"/releases/1/rollback", nil)
	if status != http.StatusNoContent || header.Get("Fairlead-Release") != "3" {
		t.Fatalf("got %d %v %s", status, header, body)
	}
	s.end(path, instance, "a")
	list := s.releases(path + "/releases")
	if list[0]["trigger"] != "rollback" || list[0]["rollbackOf"] != 1.0 {
		t.Errorf("got %v", list[0])
	}

	held := s.want(http.StatusOK, http.MethodPut, path+"/releases/2/hold", object{"reason": "it leaks"})
	if hold := held["hold"].(object); hold["reason"] != "it leaks" || hold["byName"] == "" || hold["at"] == nil {
		t.Errorf("got %v", held)
	}
	// Nobody can say what the tag stands for now, so it counts as the same.
	for _, act := range []string{"/start", "/releases/2/rollback"} {
		p := s.want(http.StatusPreconditionFailed, http.MethodPost, path+act, nil)
		if p["error"] != deployment.ReasonHeld || !strings.Contains(p["message"].(string), "it leaks") {
			t.Errorf("%s: got %v", act, p)
		}
	}
	s.want(http.StatusNoContent, http.MethodDelete, path+"/releases/2/hold", nil)
	s.want(http.StatusPreconditionFailed, http.MethodDelete, path+"/releases/2/hold", nil)
	s.want(http.StatusNoContent, http.MethodPost, path+"/releases/2/rollback", nil)
}

func TestThePolicyIsChangedFieldByField(t *testing.T) {
	s := newShop(t)
	path, _ := s.deploy("shop")
	policy := func() object { return s.want(http.StatusOK, http.MethodGet, path, nil)["policy"].(object) }
	if p := policy(); p["onFailure"] != "rollback" || p["healthWindow"] != 0.0 || p["drain"] != 0.0 || p["parallelism"] != 0.0 || p["drift"] != "report" {
		t.Errorf("got %v", p)
	}
	s.want(http.StatusNoContent, http.MethodPatch, path, object{"policy": object{"onFailure": "keep", "healthWindow": 90}})
	s.want(http.StatusNoContent, http.MethodPatch, path, object{"policy": object{"drain": 5, "parallelism": 2}})
	s.want(http.StatusNoContent, http.MethodPatch, path, object{"policy": object{"drift": "correct"}})
	if p := policy(); p["onFailure"] != "keep" || p["healthWindow"] != 90.0 || p["drain"] != 5.0 || p["parallelism"] != 2.0 || p["drift"] != "correct" {
		t.Errorf("got %v", p)
	}
	for field, value := range map[string]any{"onFailure": "explode", "healthWindow": -1, "drain": 3601, "parallelism": 101, "drift": "ignore"} {
		s.want(http.StatusBadRequest, http.MethodPatch, path, object{"policy": object{field: value}})
	}
	s.want(http.StatusNoContent, http.MethodPost, path+"/start", nil) // a node without an agent
}
