package notification

import (
	"context"
	"time"
)

// Limits on a message; receivers have their own, which senders see to.
const (
	maxErrorLength = 1000
	maxLines       = 10
	maxLineLength  = 300
)

// OutboxStore writes messages down; it joins the transaction in ctx.
type OutboxStore interface {
	// EnqueueMessage adds a delivery for each active notification of the team
	// that wants the event.
	EnqueueMessage(ctx context.Context, m Message) error
}

// Outbox takes what is to be told. A nil one tells nothing.
type Outbox struct {
	store OutboxStore
	now   func() time.Time
}

// NewOutbox returns an outbox over a store.
func NewOutbox(store OutboxStore, now func() time.Time) *Outbox {
	return &Outbox{store: store, now: now}
}

// Add writes a message down. It must be called inside the transaction of the
// act: what is undone is not told.
func (o *Outbox) Add(ctx context.Context, m Message) error {
	if o == nil {
		return nil
	}
	m.At = o.now()
	m.Error = cut(m.Error, maxErrorLength)
	if len(m.Lines) > maxLines {
		m.Lines = m.Lines[len(m.Lines)-maxLines:]
	}
	lines := make([]string, len(m.Lines))
	for i, line := range m.Lines {
		lines[i] = cut(line, maxLineLength)
	}
	m.Lines = lines
	return o.store.EnqueueMessage(ctx, m)
}

func cut(text string, length int) string {
	if runes := []rune(text); len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return text
}
