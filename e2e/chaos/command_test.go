package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// effects counts what was asked of the prefix's containers and happened.
func (p *player) effects(act string) int {
	n := 0
	for _, e := range p.node.engine.Effects()[p.seen:] {
		if e.Act == act && e.Asked && e.Container.Labels.Prefix == p.prefix {
			n++
		}
	}
	return n
}

// command asks for an act and waits until it is known to be over, whatever
// became of it. It checks that it had its effect at most once, and exactly once
// when it is said to have succeeded.
func (p *player) command(ctx context.Context, act string) (succeeded bool, err error) {
	had := p.effects(act)
	known, err := p.commands(ctx, act)
	if err != nil {
		return false, err
	}
	err = p.w.team.Act(ctx, p.node.id, p.prefix, containerName, act)
	said := fmt.Sprint(err)
	p.aftermath(ctx, err)
	var last command
	for {
		list, queryErr := p.commands(ctx, act)
		if queryErr != nil {
			return false, queryErr
		}
		if len(list) == len(known) && err != nil {
			break // it was refused before it became one
		}
		if len(list) != len(known)+1 {
			p.fail("one %s became %d commands", act, len(list)-len(known))
		}
		last = list[len(list)-1]
		if last.Finished || last.Late {
			break
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return false, fmt.Errorf("%w; the command %s is not over", ctx.Err(), last.ID)
		}
	}
	effects := p.effects(act) - had
	p.w.tell("%s: %s answered %s; command %s finished=%v error=%q: %d effects", p.prefix, act, said, last.ID, last.Finished, last.Error, effects)
	succeeded = last.Finished && last.Error == ""
	untouched := last.Finished && slices.Contains([]string{"expired", "precondition", "not-found"}, last.Kind)
	before := p.unsure[act] // effects that earlier ones may still have
	switch {
	case effects > 0:
		p.asked[act]++
	case last.ID != "" && last.givenUp():
		p.asked[act]++
		p.unsure[act]++
	}
	switch {
	case err == nil && !succeeded:
		p.fail("%s was answered with success, but command %s says %q", act, last.ID, last.Error)
	case effects > 1+before:
		p.fail("one %s, command %s, had %d effects", act, last.ID, effects)
	case succeeded && effects == 0:
		p.fail("%s, command %s, succeeded without an effect", act, last.ID)
	case last.ID == "" && effects > before:
		p.fail("%s was refused and had an effect", act)
	case untouched && effects > before:
		p.fail("%s, command %s, ended as %s and had an effect", act, last.ID, last.Kind)
	}
	return effects > 0, nil
}

// command is a row of the database.
type command struct {
	ID       string `json:"id"`
	Finished bool   `json:"finished"`
	Late     bool   `json:"late"`
	Error    string `json:"error"`
	Kind     string `json:"kind"`
}

// givenUp is whether nobody waited for what the engine did in the end: nobody
// said anything, or the agent had no answer of the engine.
func (c command) givenUp() bool {
	return !c.Finished || strings.Contains(c.Error, "ask the engine") || strings.Contains(c.Error, "context ")
}

func (p *player) commands(ctx context.Context, act string) ([]command, error) {
	var list []command
	for {
		var err error
		list, err = rows[command](p.w, fmt.Sprintf(`select id, finished_at is not null as finished,
			deadline < now() - interval '5 seconds' as late, error, error_kind as kind
			from commands where node_id = '%s' and prefix = '%s' and operation = '%s' order by created_at, id`, p.node.id, p.prefix, act))
		if err == nil {
			return list, nil
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}
