package teamapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

const (
	eventStream = "text/event-stream"
	// heartbeatEvery keeps proxies from ending a quiet stream.
	heartbeatEvery = 15 * time.Second
	// stuckAfter ends the stream of a reader that takes nothing.
	stuckAfter = time.Minute
	// recheckEvery is how soon a reader whose right was taken away loses the
	// log.
	recheckEvery = 5 * time.Second
)

// streamed is an answer that its function writes.
type streamed struct {
	Body func(huma.Context)
}

// eventWriter writes server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). What is
// written goes out with flush.
type eventWriter struct {
	out    *gin.Context
	buffer bytes.Buffer
}

// begin answers that a stream follows.
func (w *eventWriter) begin() error {
	// The deadline for reading the request would end it while it is answered.
	_ = http.NewResponseController(w.out.Writer).SetReadDeadline(time.Time{})
	header := w.out.Writer.Header()
	header.Set("Content-Type", eventStream)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	w.out.Status(http.StatusOK)
	w.buffer.WriteString("retry: 2000\n\n")
	return w.flush()
}

// id goes before the event it is the id of.
func (w *eventWriter) id(id string) { fmt.Fprintf(&w.buffer, "id: %s\n", id) }

// event writes an event; name is "" for what the stream is about.
func (w *eventWriter) event(name string, data any) {
	if name != "" {
		fmt.Fprintf(&w.buffer, "event: %s\n", name)
	}
	w.buffer.WriteString("data: ")
	_ = json.NewEncoder(&w.buffer).Encode(data) // ends the line; texts and numbers can be encoded
	w.buffer.WriteString("\n")
}

// heartbeat sends a comment.
func (w *eventWriter) heartbeat() error {
	w.buffer.WriteString(": heartbeat\n\n")
	return w.flush()
}

// flush sends what is written; a reader that takes nothing for long is an
// error.
func (w *eventWriter) flush() error {
	control := http.NewResponseController(w.out.Writer)
	_ = control.SetWriteDeadline(time.Now().Add(stuckAfter)) // without one the server's own holds
	_, err := w.out.Writer.Write(w.buffer.Bytes())
	w.buffer.Reset()
	if w.buffer.Cap() > maxBuffer {
		w.buffer = bytes.Buffer{}
	}
	if err != nil {
		return err
	}
	return control.Flush()
}

// maxBuffer is what an eventWriter keeps for its next event.
const maxBuffer = 64 << 10
