package app

import (
	"context"
	"errors"
	"time"
)

// errDraining is why a controller that stops is not ready.
var errDraining = errors.New("the controller is stopping")

// shedEvery is how often some agents are sent away while the controller
// drains.
const shedEvery = 50 * time.Millisecond

// lastWords is how long readers of streams have to take the last event.
const lastWords = 2 * time.Second

// untilDrained returns when the controller was asked to stop, or serving ended,
// and whoever uses it has had the time to find another.
func (a *App) untilDrained(asked, serving context.Context) {
	select {
	case <-asked.Done():
	case <-serving.Done():
		return
	}
	// From here on it says that it is not ready, and takes no new sessions.
	a.draining.Store(true)
	if a.config.Drain > 0 {
		a.log.Info("controller is draining", "for", a.config.Drain)
	}
	a.sendAway(serving)
	// Nobody comes any more: what lasts is told that it ends here.
	ctx, cancel := context.WithTimeout(serving, lastWords)
	defer cancel()
	a.streams.service.Interrupt()
	a.streams.service.Idle(ctx)
}

// sendAway gives load balancers the first third of the drain to notice, and
// asks the agents to come back elsewhere over the rest of it.
func (a *App) sendAway(serving context.Context) {
	if a.config.Drain <= 0 {
		return
	}
	began, notice := time.Now(), a.config.Drain/3
	tick := time.NewTicker(shedEvery)
	defer tick.Stop()
	all := 0
	for {
		select {
		case <-tick.C:
		case <-serving.Done():
			return
		}
		since := time.Since(began)
		left := a.agents.Open()
		switch {
		case since >= a.config.Drain:
			return
		case since < notice:
			all = left
		default:
			// As many should be left as there is time left.
			wanted := int(int64(all) * int64(a.config.Drain-since) / int64(a.config.Drain-notice))
			a.agents.Shed(left - wanted)
		}
	}
}

// staying fails while the controller drains.
func (a *App) staying(context.Context) error {
	if a.draining.Load() {
		return errDraining
	}
	return nil
}
