package teamapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

func hook(name, url string) object {
	return object{"name": name, "type": "webhook", "url": url, "active": true,
		"enabledEvents": []string{"node-added", "version-created", "deployment-created", "user-invited", "deployment-status"}}
}

// hooked is a message that a webhook received.
type hooked struct {
	Type string
	Data struct {
		Title, Error, URL string
		Failed            bool
		Log               []string
		Facts             map[string]string
	}
	header http.Header
	body   []byte
}

// TestEveryEventReachesAProgram provokes each documented event, outcomes of
// deployments among them, and reads what is sent as a program would.
func TestEveryEventReachesAProgram(t *testing.T) {
	p := newPipeline(t)
	messages := make(chan hooked, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m := hooked{header: r.Header}
		m.body, _ = io.ReadAll(r.Body)
		if err := json.Unmarshal(m.body, &m); err != nil {
			t.Errorf("%s: %v", m.body, err)
		}
		messages <- m
	}))
	t.Cleanup(receiver.Close)
	made := p.owner.Post("/api/acme/notifications", hook("program", receiver.URL)).Expect(t, http.StatusCreated)
	one := made.Header.Get("Location")
	secret := made.String(t, "secret")
	if strings.Contains(string(p.owner.Get(one).Expect(t, http.StatusOK).Body), "whsec_") {
		t.Error("the secret is shown again")
	}
	heard := func(kind string, secrets ...string) hooked {
		t.Helper()
		m := <-messages
		if m.Type != kind {
			t.Fatalf("want %s, got %s", kind, m.body)
		}
		for _, s := range secrets {
			verifier, err := standardwebhooks.NewWebhook(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(m.body, m.header); err != nil {
				t.Errorf("%s is not signed with %q: %v", m.body, s[:10], err)
			}
		}
		return m
	}
	p.owner.Post(one+"/test", nil).Expect(t, http.StatusNoContent)
	heard("test", secret)
	changed := p.owner.Post(one+"/secret", nil).Expect(t, http.StatusOK).String(t, "secret")
	project := "/api/acme/projects/" + p.rows["{projectId}"]
	p.owner.Post("/api/acme/nodes", object{"name": "added"}).Expect(t, http.StatusCreated)
	heard("node-added", secret, changed)
	p.owner.Post("/api/teams/"+p.teamID+"/users", object{"email": "nell@example.com", "firstName": "Nell"}).Expect(t, http.StatusCreated)
	heard("user-invited", changed)
	next := p.owner.Post(project+"/versions", object{"name": "1.0.0", "type": "incremental"}).Expect(t, http.StatusCreated).String(t, "id")
	heard("version-created", changed)
	p.owner.Post(project+"/versions/"+next+"/increase", object{"name": "1.1.0"}).Expect(t, http.StatusCreated)
	heard("version-created", changed)
	p.owner.Post(p.path+"/copy", object{"nodeId": p.rows["{nodeId}"], "prefix": "other"}).Expect(t, http.StatusCreated)
	heard("deployment-created", changed)
	p.agent(t, workloadtest.FakeOptions{Missing: []string{"example.com/web:2"}})
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	if m := heard("deployment-status", changed); m.Data.Failed || m.Data.Facts["release"] != "1" || !strings.HasSuffix(m.Data.URL, p.path) {
		t.Errorf("a good outcome: %s", m.body)
	}
	p.owner.Patch(project+"/versions/"+p.rows["{versionId}"]+"/images/"+p.rows["{imageId}"], object{"tag": "2"}).Expect(t, http.StatusNoContent)
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	failed := heard("deployment-status", changed)
	if !failed.Data.Failed || failed.Data.Error == "" || failed.Data.Facts["node"] == "" || failed.Data.Facts["prefix"] != "shop" {
		t.Errorf("a bad outcome: %s", failed.body)
	}

	var log struct {
		Items []struct {
			ID, Event, Status string
			Attempts          []struct{ Status *int }
		}
		Total int
	}
	read := func() {
		t.Helper()
		controllertest.Await(t, "all is delivered", func() (bool, string) {
			r := p.owner.Get(one+"/deliveries?skip=0&take=100").Expect(t, http.StatusOK)
			r.Into(t, &log)
			return !strings.Contains(string(r.Body), `"waiting"`), string(r.Body)
		})
	}
	read()
	if log.Total != 8 || log.Items[0].Event != "deployment-status" || log.Items[7].Event != "test" || *log.Items[0].Attempts[0].Status != http.StatusOK {
		t.Errorf("the log: %+v", log)
	}
	p.owner.Post(one+"/deliveries/"+log.Items[0].ID+"/redeliver", nil).Expect(t, http.StatusNoContent)
	if again := heard("deployment-status", changed); again.header.Get("Webhook-Id") != failed.header.Get("Webhook-Id") || !slices.Equal(again.body, failed.body) {
		t.Errorf("sent again: %s, was %s", again.body, failed.body)
	}
	read()
	if log.Total != 8 || len(log.Items[0].Attempts) != 2 {
		t.Errorf("the log after sending again: %+v", log)
	}
	problem(t, p.owner.Get(one+"/deliveries?skip=0&take=1001"), http.StatusBadRequest)
}

// A receiver that takes connections and answers nothing delays no deployment.
func TestADeadReceiverDelaysNoDeployment(t *testing.T) {
	p := newPipeline(t)
	reached, release := make(chan struct{}, 100), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		reached <- struct{}{}
		<-release
	}))
	t.Cleanup(receiver.Close)
	t.Cleanup(func() { close(release) })
	one := p.owner.Post("/api/acme/notifications", hook("dead", receiver.URL)).Expect(t, http.StatusCreated).Header.Get("Location")
	p.agent(t, workloadtest.FakeOptions{})
	p.owner.Post("/api/acme/nodes", object{"name": "first"}).Expect(t, http.StatusCreated)
	<-reached // from here on a message is under way that nobody takes
	var got outcome
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "successful" {
		t.Errorf("the deployment ended with %+v", got)
	}
	waiting := string(p.owner.Get(one+"/deliveries?skip=0&take=10").Expect(t, http.StatusOK).Body)
	if strings.Contains(waiting, `"delivered"`) || !strings.Contains(waiting, `"deployment-status"`) {
		t.Errorf("the log: %s", waiting)
	}
}
