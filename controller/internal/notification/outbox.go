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
	// EnqueueMessages adds, in the order of the messages, a delivery for each
	// active notification of a message's team that wants its event.
	EnqueueMessages(ctx context.Context, list []Message) error
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

// Add writes messages down. It must be called inside the transaction of the
// act: what is undone is not told.
func (o *Outbox) Add(ctx context.Context, list ...Message) error {
	if o == nil || len(list) == 0 {
		return nil
	}
	bounded := make([]Message, len(list))
	for i, m := range list {
		bounded[i] = m.bounded()
		bounded[i].At = o.now()
	}
	return o.store.EnqueueMessages(ctx, bounded)
}

func (m Message) bounded() Message {
	m.Error = cut(m.Error, maxErrorLength)
	if len(m.Lines) > maxLines {
		m.Lines = m.Lines[len(m.Lines)-maxLines:]
	}
	lines := make([]string, len(m.Lines))
	for i, line := range m.Lines {
		lines[i] = cut(line, maxLineLength)
	}
	m.Lines = lines
	return m
}

func cut(text string, length int) string {
	if runes := []rune(text); len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return text
}
