package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/webhook"
	"fairlead.dev/shared/apperr"
)

func failed(t notification.Type, url string) notification.Delivery {
	return notification.Delivery{
		TeamSlug: "acme", Type: t, URL: url,
		Message: notification.Message{
			Event: notification.DeploymentStatus, Title: "shop: release 3 failed on node <one>", Failed: true,
			Facts: []notification.Fact{{Name: "Node", Value: "one"}, {Name: "Prefix", Value: "shop-prod"}, {Name: "Release", Value: "3"}},
			Error: "the container ended with exit code 7", Lines: []string{"panic: ```no``` disk", "@everyone"},
			Path: "/deployments/42", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		},
	}
}

func TestEachReceiverGetsItsOwnFormat(t *testing.T) {
	type body = map[string]any
	first := func(v any) body { return v.([]any)[0].(body) }
	for _, c := range []struct {
		to notification.Type
		// link finds the link in the body, which also proves its shape.
		link func(b body) any
	}{
		{notification.Slack, func(b body) any {
			text, _, _ := strings.Cut(first(b["blocks"])["text"].(body)["text"].(string), "|")
			_, link, _ := strings.Cut(text, "<")
			return link
		}},
		{notification.Discord, func(b body) any { return first(b["embeds"])["url"] }},
		{notification.Teams, func(b body) any { return first(first(b["attachments"])["content"].(body)["actions"])["url"] }},
		{notification.Rocket, func(b body) any { return first(b["attachments"])["title_link"] }},
		{notification.Mattermost, func(b body) any { return first(b["attachments"])["title_link"] }},
	} {
		t.Run(string(c.to), func(t *testing.T) {
			var content []byte
			receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				content, _ = io.ReadAll(r.Body)
				if r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("content type %q", r.Header.Get("Content-Type"))
				}
			}))
			defer receiver.Close()
			if _, err := webhook.New("https://fairlead.example.com", true).Send(t.Context(), failed(c.to, receiver.URL)); err != nil {
				t.Fatal(err)
			}
			var b body
			if err := json.Unmarshal(content, &b); err != nil {
				t.Fatal(err)
			}
			if got := c.link(b); got != "https://fairlead.example.com/api/acme/deployments/42" {
				t.Errorf("link %v in %s", got, content)
			}
			for _, want := range []string{"release 3 failed", "shop-prod", "exit code 7", "panic"} {
				if !strings.Contains(string(content), want) {
					t.Errorf("no %q in %s", want, content)
				}
			}
		})
	}
}

// A receiver checks with the specification's own library.
func TestWebhooksAreSignedAndReadable(t *testing.T) {
	secrets := []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + base64.StdEncoding.EncodeToString([]byte("the earlier secret of this hook!"))}
	d := failed(notification.Webhook, "")
	d.PublicID = uuid.MustParse("0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
	for _, secret := range secrets {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		d.Keys = append(d.Keys, raw)
	}
	var payload struct {
		Type      string
		Timestamp time.Time
		Data      struct {
			Team              struct{ Slug string }
			Title, Error, URL string
			Failed            bool
			Facts             map[string]string
			Log               []string
		}
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		for i, secret := range append(secrets, "whsec_"+base64.StdEncoding.EncodeToString([]byte("somebody else's"))) {
			hook, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Error(err)
				return
			}
			if err := hook.Verify(content, r.Header); (err == nil) != (i < len(secrets)) {
				t.Errorf("secret %d: %v", i, err)
			}
			if err := hook.Verify(append(content, ' '), r.Header); err == nil {
				t.Errorf("secret %d: another content is taken", i)
			}
		}
		if r.Header.Get("Webhook-Id") != "msg_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b" {
			t.Errorf("id %q", r.Header.Get("Webhook-Id"))
		}
		if err := json.Unmarshal(content, &payload); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer receiver.Close()
	d.URL = receiver.URL
	d.Message.Facts = append(d.Message.Facts, notification.Fact{Name: "Created by", Value: "Ann"}, notification.Fact{Name: "E-mail", Value: "a@b.co"})
	status, err := webhook.New("https://fairlead.example.com", true).Send(t.Context(), d)
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("status %d, %v", status, err)
	}
	p := payload.Data
	if payload.Type != "deployment-status" || !payload.Timestamp.Equal(d.Message.At) || p.Team.Slug != "acme" || !p.Failed ||
		p.URL != "https://fairlead.example.com/api/acme/deployments/42" || p.Error == "" || len(p.Log) != 2 || p.Facts["createdBy"] != "Ann" || p.Facts["email"] != "a@b.co" || p.Facts["release"] != "3" {
		t.Errorf("payload %+v", payload)
	}
}

func TestAnswersDecideWhetherAnotherTryMayHelp(t *testing.T) {
	for status, want := range map[int]apperr.Kind{
		http.StatusInternalServerError: apperr.Unavailable, http.StatusTooManyRequests: apperr.Unavailable,
		http.StatusNotFound: apperr.Precondition, http.StatusFound: apperr.Precondition,
	} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(status)
		}))
		_, err := webhook.New("", true).Send(t.Context(), failed(notification.Slack, receiver.URL+"/s3cret"))
		receiver.Close()
		if !apperr.Is(err, want) {
			t.Errorf("%d: %v, want kind %s", status, err, want)
		}
	}
}

func TestErrorsDoNotHoldTheURL(t *testing.T) {
	receiver := httptest.NewServer(http.NotFoundHandler())
	receiver.Close()
	for _, url := range []string{receiver.URL + "/s3cret", "http://[::1/s3cret", "http://nowhere.invalid/s3cret"} {
		_, err := webhook.New("", true).Send(t.Context(), failed(notification.Slack, url))
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}

func TestPrivateAddressesAreNotCalled(t *testing.T) {
	called := false
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer receiver.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(receiver.URL, "http://"), ":")
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:FFFF:169.254.169.254]", "[::127.0.0.1]", "[::]", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "[fd00::1]", "[fe80::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001::1]", "[fec0::1]", "[ff02::1]", "192.0.0.1", "198.18.0.1", "240.0.0.1", "224.0.0.1", "255.255.255.255",
	} {
		_, err := webhook.New("", false).Send(t.Context(), failed(notification.Slack, "http://"+host+":"+port))
		if !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "FAIRLEAD_WEBHOOK_ALLOW_PRIVATE") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if called {
		t.Error("the receiver was called")
	}
}
