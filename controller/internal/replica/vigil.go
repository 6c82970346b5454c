package replica

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

const (
	// askEvery, askAfter and askTimeout: a database that is gone is noticed
	// within all three together, 3 s, in which new sessions must be refused. It
	// is asked when it has answered nobody for askAfter.
	askEvery   = 100 * time.Millisecond
	askAfter   = 1500 * time.Millisecond
	askTimeout = 1300 * time.Millisecond
	// listEvery is how often the other replicas are looked up while the
	// database is there to tell.
	listEvery = 30 * time.Second
	// holdFor is how long the database must be away before sessions are given
	// to another replica: most absences are shorter.
	holdFor = 5 * time.Second
	// shedOver is the time over which they are.
	shedOver = 30 * time.Second
	// shedEvery is how often some of them go, and another replica is asked
	// whether it can take them.
	shedEvery = time.Second
)

// VigilConfig is what a Vigil needs. Zero times are the defaults.
type VigilConfig struct {
	// Ask asks the database whether it is there, unless Answered told that
	// just before; List asks it who the other replicas are.
	Ask  func(ctx context.Context) error
	List func(ctx context.Context) ([]Peer, error)
	// Health asks another replica.
	Health func(ctx context.Context, address string) (Health, error)
	// Sessions counts this replica's sessions; Shed has some of them go to
	// another replica.
	Sessions func() int
	Shed     func(n int)
	Log      *slog.Logger

	AskEvery, AskAfter, HoldFor, ShedOver, ShedEvery time.Duration
}

// Vigil watches over this replica's connection to PostgreSQL. While that is
// gone the replica takes no sessions, and keeps those it has: they cost
// nothing, and agents need no controller to keep their nodes as they are. Only
// when another replica says that it has the database are they given to it, a
// few at a time. Where nobody has, all stay where they are, so that they are
// not sent from one to the next.
type Vigil struct {
	VigilConfig

	mu    sync.Mutex
	err   error
	since time.Time
	peers []Peer
	// answered is when the database last answered, by what it was told or
	// asked.
	answered time.Time
	// share is how many sessions go at a time, 0 while none do; only Run uses
	// it.
	share int
}

// NewVigil returns a vigil; Run keeps it.
func NewVigil(c VigilConfig) *Vigil {
	for value, fallback := range map[*time.Duration]time.Duration{
		&c.AskEvery: askEvery, &c.AskAfter: askAfter, &c.HoldFor: holdFor, &c.ShedOver: shedOver, &c.ShedEvery: shedEvery,
	} {
		if *value == 0 {
			*value = fallback
		}
	}
	return &Vigil{VigilConfig: c}
}

// Present returns nil while the database is there, and otherwise an
// Unavailable error.
func (v *Vigil) Present() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Answered tells that the database answered somebody, so that it need not be
// asked; or that it did not, so that it is asked at once.
func (v *Vigil) Answered(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err != nil:
		v.answered = time.Time{}
	case v.err == nil: // that it is back is for its own question to find
		v.answered = time.Now()
	}
}

func (v *Vigil) due() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.answered) >= v.AskAfter
}

// Run asks until ctx ends.
func (v *Vigil) Run(ctx context.Context) error {
	tick := time.NewTicker(v.AskEvery)
	defer tick.Stop()
	var listed, shed time.Time
	for {
		now := time.Now()
		found, other := false, Peer{}
		if v.awayFor(now) >= v.HoldFor && now.Sub(shed) >= v.ShedEvery {
			shed = now
			// Before the database is asked once more: where it was back for the
			// other, it may be back here.
			if other, found = v.helper(ctx); !found {
				v.share = 0
			}
		}
		if v.due() {
			v.ask(ctx)
		}
		switch {
		case v.awayFor(time.Now()) == 0:
			v.share = 0
			if now.Sub(listed) >= listEvery {
				listed = now
				v.list(ctx)
			}
		case found:
			v.shed(other)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *Vigil) ask(ctx context.Context) {
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := v.Ask(asked)
	if ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	was := v.err
	v.answered = time.Time{}
	if err == nil {
		v.answered = time.Now()
	}
	if err != nil {
		v.err = apperr.Wrap(apperr.Unavailable, err, "the controller has lost its database")
	} else {
		v.err = nil
	}
	if was == nil && err != nil {
		v.since = time.Now()
	}
	away := time.Since(v.since)
	v.mu.Unlock()
	switch {
	case was == nil && err != nil:
		v.Log.Warn("the database does not answer: no new sessions until it does", logging.KeyError, err)
	case was != nil && err == nil:
		v.Log.Info("the database answers again", "after", away.Round(time.Millisecond))
	}
}

func (v *Vigil) awayFor(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		return 0
	}
	return max(1, now.Sub(v.since))
}

func (v *Vigil) list(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	peers, err := v.List(ctx)
	if err != nil {
		return // those of before will do
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peers = peers
}

// shed lets a share of the sessions go to a replica that can take them.
func (v *Vigil) shed(peer Peer) {
	n := v.Sessions()
	if n == 0 {
		return
	}
	if v.share == 0 {
		v.share = int(int64(n)*int64(v.ShedEvery)/int64(v.ShedOver)) + 1
		v.Log.Warn("the database is away from here and not from another controller, which takes over",
			"other", peer.Name, "sessions", n, "over", v.ShedOver)
	}
	v.Shed(min(n, v.share))
}

// helper finds a replica that has the database and takes sessions, if there are
// any to take.
func (v *Vigil) helper(ctx context.Context) (Peer, bool) {
	if v.Sessions() == 0 {
		return Peer{}, false
	}
	v.mu.Lock()
	peers := v.peers
	v.mu.Unlock()
	found := make(chan Peer, len(peers))
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			if h, err := v.Health(ctx, p.Address); err == nil && h.Database && h.Accepting {
				found <- p
			}
		})
	}
	all.Wait()
	select {
	case p := <-found:
		return p, true
	default:
		return Peer{}, false
	}
}
