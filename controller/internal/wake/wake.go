// Package wake passes hints inside one process: something about a topic may
// have changed, go and look. A hint carries nothing, so losing or merging some
// does no harm as long as whoever waits also looks now and then by itself.
package wake

import (
	"strings"
	"sync"
)

// Topic names what a hint is about.
type Topic string

// Kinds of topics that are followed.
const (
	KindNode  = "node"
	KindAgent = "agent"
)

// Node is about what the node with this id should run or do.
func Node(id string) Topic { return Topic(KindNode + ":" + id) }

// Agent is about the identity and the session of the agent with this id.
func Agent(id string) Topic { return Topic(KindAgent + ":" + id) }

// Command is about the result of the command with this id.
func Command(id string) Topic { return Topic("command:" + id) }

// Deployment is about the state and the log of the deployment with this id.
func Deployment(id string) Topic { return Topic("deployment:" + id) }

// Deliveries is about notifications that are to be sent.
func Deliveries() Topic { return "deliveries" }

// Mails is the topic of e-mails to send.
func Mails() Topic { return "mails" }

// Rollouts is about rollouts that there may be something to do for.
func Rollouts() Topic { return "rollouts" }

// Bus delivers hints. The zero value is not ready; use New.
type Bus struct {
	mu        sync.Mutex
	listeners map[Topic]map[*Subscription]struct{}
	followers []func(Topic)
}

// New returns a bus without listeners.
func New() *Bus {
	return &Bus{listeners: map[Topic]map[*Subscription]struct{}{}}
}

// Subscription receives the hints of its topics.
type Subscription struct {
	// C has room for one hint: more are merged into it.
	C      chan struct{}
	bus    *Bus
	topics []Topic
}

// Subscribe starts listening to topics; Close ends it.
func (b *Bus) Subscribe(topics ...Topic) *Subscription {
	s := &Subscription{C: make(chan struct{}, 1), bus: b, topics: topics}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range topics {
		if b.listeners[topic] == nil {
			b.listeners[topic] = map[*Subscription]struct{}{}
		}
		b.listeners[topic][s] = struct{}{}
	}
	return s
}

// Close stops the hints.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	for _, topic := range s.topics {
		delete(s.bus.listeners[topic], s)
		if len(s.bus.listeners[topic]) == 0 {
			delete(s.bus.listeners, topic)
		}
	}
}

// Follow has every hint passed to a function as well, which must not block; All
// stands for every topic. It is for who cares about more topics than it would
// want subscriptions for.
func (b *Bus) Follow(follower func(Topic)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.followers = append(b.followers, follower)
}

// All is what followers are told when any hint may have been lost.
const All Topic = ""

// Split returns what kind of thing the topic is about, and its id.
func (t Topic) Split() (kind, id string) {
	kind, id, _ = strings.Cut(string(t), ":")
	return kind, id
}

// Publish hints everyone who listens to the topic. It never blocks.
func (b *Bus) Publish(topic Topic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, follow := range b.followers {
		follow(topic)
	}
	for s := range b.listeners[topic] {
		s.hint()
	}
}

// PublishAll hints every listener: hints may have been lost.
func (b *Bus) PublishAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, follow := range b.followers {
		follow(All)
	}
	for _, listeners := range b.listeners {
		for s := range listeners {
			s.hint()
		}
	}
}

func (s *Subscription) hint() {
	select {
	case s.C <- struct{}{}:
	default: // one is waiting already
	}
}
