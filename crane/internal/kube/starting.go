package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
	"time"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
)

// readyTimeout bounds asking the API server whether it is ready.
const readyTimeout = 5 * time.Second

// startingServer returns what makes a transport doubt refusals. An API server
// that starts answers before it has loaded the rules of who may what, and until
// then refuses what it allows: no deployment is to fail for that. So a server
// that refuses is asked whether it is ready; where it is not, the refusal
// becomes one that is tried again, by client-go a few times and then by whoever
// asked.
func startingServer(host string) func(http.RoundTripper) http.RoundTripper {
	base := ""
	if u, err := url.Parse(host); err == nil { // otherwise it is host and port alone
		base = u.Path
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return doubting{next: next, readyPath: path.Join("/", base, "readyz")}
	}
}

type doubting struct {
	next      http.RoundTripper
	readyPath string
}

// RoundTrip implements http.RoundTripper.
func (d doubting) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := d.next.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusForbidden || d.ready(r) {
		return answer, err
	}
	_ = answer.Body.Close()
	return unready(r)
}

// ready asks the server that refused a request, with the credentials of that.
func (d doubting) ready(refused *http.Request) bool {
	ctx, cancel := context.WithTimeout(refused.Context(), readyTimeout)
	defer cancel()
	ask := refused.Clone(ctx)
	ask.Method, ask.URL.Path, ask.URL.RawPath, ask.URL.RawQuery = http.MethodGet, d.readyPath, "", ""
	ask.Body, ask.GetBody, ask.ContentLength = nil, nil, 0
	answer, err := d.next.RoundTrip(ask)
	if err != nil {
		return false
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode == http.StatusOK
}

// unready is what the API server itself says where it is overburdened.
func unready(r *http.Request) (*http.Response, error) {
	status := kerrors.NewServiceUnavailable("the API server is starting and refuses what it may allow").Status()
	status.Kind, status.APIVersion = "Status", "v1"
	body, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusServiceUnavailable, Status: http.StatusText(http.StatusServiceUnavailable),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)), Request: r,
	}, nil
}
