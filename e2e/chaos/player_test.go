package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/e2e/chaos/engine"
	"fairlead.dev/e2e/client"
)

// player does things to one prefix of one node, one after the other, and
// remembers what must have become of each.
type player struct {
	w       *world
	node    *node
	prefix  string
	random  *rand.Rand
	version string

	deployment string
	releases   map[string]map[int64]string // deployment, number: expected outcome
	// value is what the running container was given last; "" when there is none.
	value   string
	running bool
	values  int
	crashes int
	// asked counts the commands that had an effect on containers, by act, or may
	// still have: those are unsure, given up by the agent or never heard of
	// again. What was frozen with one in its hands may carry it out.
	asked, unsure map[string]int
	// exits are those that must be facts.
	exits []engine.Container
	// failedValues are those of releases that could not succeed: they may be
	// tried more than once.
	failedValues []string
	wrong        []string
	// seen is how many effects of the engine are not looked at any more: they
	// were before the database was put back.
	seen int
	// doing is the act under way, for who waits in vain.
	doing atomic.Value
}

// containerName is what every player calls its container.
const containerName = "web"

func (w *world) newPlayer(n *node, i int) *player {
	w.t.Helper()
	p := &player{
		w: w, node: n, prefix: fmt.Sprintf("%sp%d", n.name, i), random: w.random(uint64(1000*len(w.nodes) + len(n.name) + i*7)),
		releases: map[string]map[int64]string{}, asked: map[string]int{}, unsure: map[string]int{},
	}
	ctx := w.t.Context()
	project, err := w.team.CreateProject(ctx, p.prefix)
	must(w.t, err)
	_, err = project.AddImage(ctx, w.registry, "web:1", client.Object{"name": containerName})
	must(w.t, err)
	p.version = project.VersionID
	p.deployment, err = w.team.CreateDeployment(ctx, p.version, n.id, p.prefix)
	must(w.t, err)
	p.releases[p.deployment] = map[int64]string{}
	return p
}

func (p *player) fail(format string, args ...any) {
	text := p.prefix + ": " + fmt.Sprintf(format, args...)
	p.w.tell("VIOLATION %s", text)
	p.wrong = append(p.wrong, text)
}

// play does random things until rest ends, and ends the last one properly; ctx
// is for when that takes too long.
func (p *player) play(ctx, rest context.Context) error {
	acts := []struct {
		name   string
		weight int
		do     func(context.Context) error
		needs  bool // a container that runs
	}{
		{"release", 6, p.release, false},
		{"failing release", 2, p.failing, true},
		{"same release", 3, p.same, true},
		{"two releases", 2, p.two, false},
		{"restart", 5, p.restart, true},
		{"stop and start", 3, p.stopStart, true},
		{"crash", 5, p.crash, true},
		{"delete", 1, p.remove, true},
	}
	total := 0
	for _, a := range acts {
		total += a.weight
	}
	for rest.Err() == nil {
		n := p.random.IntN(total)
		for _, a := range acts {
			if n -= a.weight; n >= 0 {
				continue
			}
			if a.needs && (p.value == "" || !p.running) {
				break
			}
			p.doing.Store(a.name)
			p.w.tell("%s: %s", p.prefix, a.name)
			if err := a.do(ctx); err != nil {
				return fmt.Errorf("%s: %s: %w", p.prefix, a.name, err)
			}
			break
		}
		p.doing.Store("a pause")
		sleep(rest, time.Duration(p.random.IntN(300))*time.Millisecond)
	}
	p.doing.Store("nothing")
	return nil
}

// away tells whether an error says nothing but that somebody could not be
// reached.
func away(err error) bool {
	status := client.StatusOf(err)
	return err != nil && (status == 0 || status >= http.StatusInternalServerError || status == http.StatusTooManyRequests)
}

// settle repeats a call, which may be repeated, until it is answered.
func (p *player) settle(ctx context.Context, call func() error) error {
	for {
		err := call()
		if !away(err) {
			return err
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%w; the last answer was: %w", ctx.Err(), err)
		}
	}
}

// aftermath waits, after a call that nobody answered, until the database does,
// and a moment longer: what a controller asked of it before it was killed may
// be done only now.
func (p *player) aftermath(ctx context.Context, err error) {
	for away(err) && sleep(ctx, 200*time.Millisecond) {
		if _, queryErr := p.w.db.query(database, "select 1"); queryErr == nil {
			sleep(ctx, 200*time.Millisecond)
			return
		}
	}
}

func (p *player) see(ctx context.Context) (d client.Deployment, err error) {
	err = p.settle(ctx, func() error {
		d, err = p.w.team.Deployment(ctx, p.deployment)
		return err
	})
	return d, err
}

// start starts a release, for certain and once, and returns its number.
func (p *player) start(ctx context.Context, outcome string) (int64, error) {
	before, err := p.see(ctx)
	if err != nil {
		return 0, err
	}
	for {
		err := p.w.team.Start(ctx, p.deployment)
		if err != nil && !away(err) {
			return 0, err
		}
		p.aftermath(ctx, err)
		after, seeErr := p.see(ctx)
		if seeErr != nil {
			return 0, seeErr
		}
		if err == nil && after.LastTry != before.LastTry+1 {
			p.fail("a start that was accepted made release %d of %d", after.LastTry, before.LastTry)
		}
		if after.LastTry > before.LastTry {
			p.releases[p.deployment][after.LastTry] = outcome
			p.w.tell("%s: release %d", p.prefix, after.LastTry)
			return after.LastTry, nil
		}
	}
}

func (p *player) environment(ctx context.Context, pairs ...string) error {
	var env []client.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		env = append(env, client.KeyValue{Key: pairs[i], Value: pairs[i+1]})
	}
	return p.settle(ctx, func() error { return p.w.team.SetEnvironment(ctx, p.deployment, env...) })
}

// outcome waits for a release's end.
func (p *player) outcome(ctx context.Context, want string) error {
	for {
		d, err := p.see(ctx)
		if err != nil {
			return err
		}
		if d.Status != client.InProgress {
			if d.Status != want {
				p.fail("the deployment is %s, want %s", d.Status, want)
			}
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%w; release %d is still in progress, %s", ctx.Err(), d.LastTry, d.Waiting)
		}
	}
}

func (p *player) newValue() string {
	p.values++
	return fmt.Sprintf("v%d", p.values)
}

func (p *player) release(ctx context.Context) error {
	value := p.newValue()
	if err := p.environment(ctx, engine.ValueKey, value); err != nil {
		return err
	}
	if _, err := p.start(ctx, client.Successful); err != nil {
		return err
	}
	if err := p.outcome(ctx, client.Successful); err != nil {
		return err
	}
	p.value, p.running = value, true
	return nil
}

// failing starts a release that cannot succeed: what ran before goes on.
func (p *player) failing(ctx context.Context) error {
	before := p.containers()
	value := p.newValue()
	p.failedValues = append(p.failedValues, value)
	if err := p.environment(ctx, engine.ValueKey, value, engine.OutcomeKey, engine.OutcomeFail); err != nil {
		return err
	}
	if _, err := p.start(ctx, client.Failed); err != nil {
		return err
	}
	if err := p.outcome(ctx, client.Failed); err != nil {
		return err
	}
	p.unchanged(before, "a failed release")
	return p.environment(ctx, engine.ValueKey, p.value)
}

// same starts a release that changes nothing.
func (p *player) same(ctx context.Context) error {
	before := p.containers()
	if _, err := p.start(ctx, client.Successful); err != nil {
		return err
	}
	if err := p.outcome(ctx, client.Successful); err != nil {
		return err
	}
	p.unchanged(before, "a release that changes nothing")
	return nil
}

// two starts one release over another.
func (p *player) two(ctx context.Context) error {
	if err := p.environment(ctx, engine.ValueKey, p.newValue()); err != nil {
		return err
	}
	// Whether it succeeds or is overtaken is a matter of time.
	if _, err := p.start(ctx, ""); err != nil {
		return err
	}
	// Not editable while in progress: the second is started as it is.
	if _, err := p.start(ctx, client.Successful); err != nil {
		return err
	}
	if err := p.outcome(ctx, client.Successful); err != nil {
		return err
	}
	p.value, p.running = fmt.Sprintf("v%d", p.values), true
	return nil
}

// containers returns those of the prefix.
func (p *player) containers() []engine.Container {
	var list []engine.Container
	for _, c := range p.node.engine.Containers() {
		if c.Labels.Prefix == p.prefix {
			list = append(list, c)
		}
	}
	return list
}

// unchanged compares with what there was: the same containers, with the same
// processes.
func (p *player) unchanged(before []engine.Container, what string) {
	key := func(c engine.Container) string { return c.ID + " " + c.Name + " " + c.StartedAt.String() }
	var a, b []string
	for _, c := range before {
		a = append(a, key(c))
	}
	after := p.containers()
	for _, c := range after {
		b = append(b, key(c))
	}
	if !slices.Equal(a, b) {
		p.fail("%s touched unchanged containers: %v, now %v", what, a, b)
	}
}

func (p *player) restart(ctx context.Context) error {
	_, err := p.command(ctx, engine.Restart)
	return err
}

func (p *player) stopStart(ctx context.Context) error {
	stopped, err := p.command(ctx, engine.Stop)
	if err != nil {
		return err
	}
	if !stopped {
		return nil
	}
	p.running = false
	return p.bringUp(ctx)
}

// bringUp starts the stopped container until it runs, or something is wrong.
func (p *player) bringUp(ctx context.Context) error {
	for !p.running && len(p.wrong) == 0 {
		started, err := p.command(ctx, engine.Start)
		if err != nil {
			return err
		}
		p.running = started
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// crash ends the container's process and waits until that is known as a fact.
func (p *player) crash(ctx context.Context) error {
	p.crashes++
	code := 100 + p.crashes
	again := p.random.IntN(3) == 0
	exited, ok := p.node.engine.Crash(p.prefix+"-"+containerName, code, again)
	if !ok {
		p.fail("the container does not run")
		return nil
	}
	p.exits = append(p.exits, exited)
	for {
		n, err := p.facts(exited)
		if err == nil && n > 0 {
			break
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%w; the exit of %s with %d is no fact: %w", ctx.Err(), exited.ID, code, err)
		}
	}
	p.running = again
	return p.bringUp(ctx)
}

// facts counts what is known of an exit.
func (p *player) facts(c engine.Container) (int, error) {
	type count struct{ N int }
	list, err := rows[count](p.w, fmt.Sprintf(`select count(*) as n from container_events
		where node_id = '%s' and engine_id = '%s' and type = 'exit'
		and abs(extract(epoch from happened_at - '%s')) < 0.001`, p.node.id, c.ID, c.FinishedAt.Format(time.RFC3339Nano)))
	if err != nil {
		return 0, err
	}
	return list[0].N, nil
}

// remove deletes the deployment and makes another in its place.
func (p *player) remove(ctx context.Context) error {
	err := p.settle(ctx, func() error { return p.w.team.DeleteDeployment(ctx, p.deployment) })
	if err != nil && client.StatusOf(err) != http.StatusNotFound {
		return err
	}
	for {
		_, err := p.see(ctx)
		if client.StatusOf(err) == http.StatusNotFound {
			break
		}
		if err != nil {
			return err
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%w; the deployment is not gone", ctx.Err())
		}
	}
	delete(p.releases, p.deployment)
	p.value, p.running = "", false
	for {
		id, err := p.w.team.CreateDeployment(ctx, p.version, p.node.id, p.prefix)
		if err == nil {
			p.deployment = id
			break
		}
		if !away(err) {
			return err // also when one was made without a word: that is rare, and shows
		}
		p.aftermath(ctx, err)
		if made, err := p.found(ctx); err != nil || made {
			if err != nil {
				return err
			}
			break
		}
	}
	p.releases[p.deployment] = map[int64]string{}
	return nil
}

// found looks for a deployment that was made although nobody said so.
func (p *player) found(ctx context.Context) (bool, error) {
	for {
		type row struct{ ID string }
		list, err := rows[row](p.w, fmt.Sprintf(`select id from deployments where node_id = '%s' and prefix = '%s'`, p.node.id, p.prefix))
		if err == nil {
			if len(list) == 1 {
				p.deployment = list[0].ID
			}
			return len(list) == 1, nil
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return false, errors.Join(ctx.Err(), err)
		}
	}
}
