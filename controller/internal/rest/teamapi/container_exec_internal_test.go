package teamapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/shared/apperr"
)

// deaf is a stream whose command has ended while its last words are on their
// way.
type deaf struct{ bulk.Stream }

func (deaf) Send(bulk.Down) error { return errors.New("the other end hung up") }

func TestInputAfterTheCommandEndedDoesNotEndTheTerminal(t *testing.T) {
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			ended <- err
			return
		}
		ended <- (&terminal{conn: conn}).input(r.Context(), deaf{})
	}))
	t.Cleanup(server.Close)
	//nolint:bodyclose // the library closes it
	conn, _, err := websocket.Dial(t.Context(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	for _, message := range []struct {
		kind websocket.MessageType
		text string
	}{
		{websocket.MessageBinary, "\x00exit\n"},
		{websocket.MessageText, `{"resize": {"columns": 80, "rows": 25}}`},
		{websocket.MessageText, `{"stdinClosed": true}`},
		{websocket.MessageText, "not JSON"}, // the only one that ends it
	} {
		if err := conn.Write(t.Context(), message.kind, []byte(message.text)); err != nil {
			t.Fatalf("%q: %v", message.text, err)
		}
	}
	if err := <-ended; !apperr.Is(err, apperr.Invalid) {
		t.Errorf("the input ended with %v, not with what is no JSON", err)
	}
}
