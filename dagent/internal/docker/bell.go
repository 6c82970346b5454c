package docker

import (
	"context"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// heardGlance is how often a container is looked at that is waited for while
// the bell hears of it anyway. Fifty containers come up at a time, and the engine
// is at its limit then.
const heardGlance = 5 * time.Second

// bell wakes whoever waits for a container when something happened to it, so
// that nobody has to ask the engine again and again.
type bell struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
	// exits are the codes of the containers that ended while it listened.
	exits map[string]string
	// silent is true when nothing is heard any more.
	silent bool
}

// listen hears the engine's events about the containers of a prefix until ctx
// ends or they are lost: those who wait look from time to time anyway.
func (d *Driver) listen(ctx context.Context, prefix string) *bell {
	b := &bell{waiting: map[string]chan struct{}{}, exits: map[string]string{}}
	heard, lost := d.engine.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", labelNamespace+"="+prefix),
	)})
	go func() {
		for {
			select {
			case e := <-heard:
				if matters(e.Action) {
					b.ring(e)
				}
			case <-lost: //nolint:errcheck // who waits looks for himself from now on
				b.fallSilent()
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return b
}

func (b *bell) ring(e events.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Action == events.ActionDie {
		b.exits[e.Actor.ID] = e.Actor.Attributes["exitCode"]
	}
	select {
	case b.of(e.Actor.ID) <- struct{}{}:
	default:
	}
}

// fallSilent wakes all who wait: they have to look for themselves.
func (b *bell) fallSilent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = true
	for _, waiting := range b.waiting {
		select {
		case waiting <- struct{}{}:
		default:
		}
	}
}

// of returns the channel of a container; b.mu is held.
func (b *bell) of(id string) chan struct{} {
	if b.waiting[id] == nil {
		b.waiting[id] = make(chan struct{}, 1)
	}
	return b.waiting[id]
}

// wake returns a channel that gets something when something happened to the
// container. A bell that is nil never rings.
func (b *bell) wake(id string) <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(id)
}

// exit returns the code a container ended with last, as far as that was heard.
func (b *bell) exit(id string) (code string, heard bool) {
	if b == nil {
		return "", false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	code, heard = b.exits[id]
	return code, heard
}

// glance is how often is looked without a bell having rung.
func (b *bell) glance() time.Duration {
	if b == nil {
		return pollInterval
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.silent {
		return pollInterval
	}
	return heardGlance
}
