// Package webhook brings messages to receivers over HTTP: to chats each in its
// own format, to programs as signed Standard Webhooks. It calls nobody inside
// the network it runs in unless it is allowed to. It is an edge of the
// controller, on the far side of the domain's outbox.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/outbound"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/buildinfo"
)

const (
	timeout        = 10 * time.Second
	maxAnswerBytes = 4 << 10
)

// Sender sends messages.
type Sender struct {
	client *http.Client
	// publicURL is where links lead, without a slash at its end.
	publicURL string
}

// New returns a sender whose links lead to publicURL. Only with allowPrivate
// does it call loopback, private and other addresses that are not public.
func New(publicURL string, allowPrivate bool) *Sender {
	return &Sender{publicURL: publicURL, client: outbound.Client(timeout, allowPrivate)}
}

// Send brings a message to its receiver, and returns the status of its answer,
// 0 for none. Errors: Unavailable when another try may succeed, Precondition
// when the receiver refuses it or must not be called.
func (s *Sender) Send(ctx context.Context, d notification.Delivery) (status int, err error) {
	body, err := json.Marshal(s.body(d))
	if err != nil {
		return 0, fmt.Errorf("encode the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return 0, apperr.New(apperr.Precondition, "the URL of the receiver is not valid") // its text would be in err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Fairlead/"+buildinfo.Version())
	if d.Type == notification.Webhook {
		sign(req.Header, d, body, time.Now())
	}
	res, err := s.client.Do(req)
	if err != nil {
		return 0, unreachable(err)
	}
	defer func() { _ = res.Body.Close() }()
	// Read to the end, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswerBytes))
	return res.StatusCode, refusal(res)
}

// refusal is the error that a status stands for.
func refusal(res *http.Response) error {
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode >= 500, res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusRequestTimeout:
		return apperr.New(apperr.Unavailable, "the receiver answered with status %d", res.StatusCode)
	default:
		return apperr.New(apperr.Precondition, "the receiver refused the message with status %d; check its URL and type", res.StatusCode)
	}
}

// unreachable takes the URL, which is a credential, out of the client's error.
func unreachable(err error) error {
	var private outbound.PrivateError
	if errors.As(err, &private) {
		return apperr.New(apperr.Precondition, "%v", private)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return apperr.New(apperr.Unavailable, "the receiver can't be reached: %v", err)
}
