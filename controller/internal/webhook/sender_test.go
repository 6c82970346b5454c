package webhook_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
			if err := webhook.New("https://fairlead.example.com", true).Send(t.Context(), failed(c.to, receiver.URL)); err != nil {
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

func TestAnswersDecideWhetherAnotherTryMayHelp(t *testing.T) {
	for status, want := range map[int]apperr.Kind{
		http.StatusInternalServerError: apperr.Unavailable, http.StatusTooManyRequests: apperr.Unavailable,
		http.StatusNotFound: apperr.Precondition, http.StatusFound: apperr.Precondition,
	} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(status)
		}))
		err := webhook.New("", true).Send(t.Context(), failed(notification.Slack, receiver.URL+"/s3cret"))
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
		err := webhook.New("", true).Send(t.Context(), failed(notification.Slack, url))
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
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "[fd00::1]", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255",
	} {
		err := webhook.New("", false).Send(t.Context(), failed(notification.Slack, "http://"+host+":"+port))
		if !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "FAIRLEAD_WEBHOOK_ALLOW_PRIVATE") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if called {
		t.Error("the receiver was called")
	}
}
