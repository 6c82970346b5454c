package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// Exec runs a command in a container and returns what it wrote, and its exit code.
func (t *Team) Exec(ctx context.Context, nodeID, prefix, name string, command ...string) (output string, code int, err error) {
	at := "ws" + strings.TrimPrefix(t.base, "http") + t.path("/nodes/%s/%s/containers/%s/exec", nodeID, prefix, name)
	connection, answer, err := websocket.Dial(ctx, at, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + t.token}}})
	if err != nil {
		return "", 0, fmt.Errorf("run a command in %s: %w", name, err)
	}
	if answer.Body != nil {
		defer func() { _ = answer.Body.Close() }()
	}
	defer func() { _ = connection.CloseNow() }()
	start, err := json.Marshal(Object{"start": Object{"command": command}})
	if err != nil {
		return "", 0, fmt.Errorf("run a command in %s: %w", name, err)
	}
	if err := connection.Write(ctx, websocket.MessageText, start); err != nil {
		return "", 0, fmt.Errorf("run a command in %s: %w", name, err)
	}
	var wrote strings.Builder
	for {
		kind, message, err := connection.Read(ctx)
		if err != nil {
			return wrote.String(), 0, fmt.Errorf("run a command in %s: %w", name, err)
		}
		if kind == websocket.MessageBinary {
			if len(message) > 0 {
				wrote.Write(message[1:]) // behind the channel
			}
			continue
		}
		var told struct {
			Exit *struct {
				Code int `json:"code"`
			} `json:"exit"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(message, &told); err != nil {
			return wrote.String(), 0, fmt.Errorf("run a command in %s: %w", name, err)
		}
		switch {
		case told.Error != nil:
			return wrote.String(), 0, errors.New(told.Error.Message)
		case told.Exit != nil:
			return wrote.String(), told.Exit.Code, nil
		}
	}
}
