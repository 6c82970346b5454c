package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/logging"
)

const rootUsage = `usage: controller root <command> [--days N] [--force] [flags]

Replaces the private root that agents and controller trust each other by.

commands:
  list              show the roots, and which agents do not trust one yet
  prepare           make the next root; agents are told of it
  promote           let the next root sign; refused while an agent does not
                    trust it that was connected in the last N days (30)
  retire <sha256>   give up an old root, or the next one; the first digits of
                    its SHA-256 will do

--force takes a step that would be refused. Agents that are left behind must be
installed anew. The other flags are those of the controller.
`

// rootAct is what is asked of the roots.
type rootAct struct {
	command string
	sha256  string
	seen    time.Duration
	force   bool
}

// rootCommand takes one step, or shows where things stand.
func rootCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	act, rest, err := parseRootAct(args)
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n\n%s", err, rootUsage)
		return exitUsage
	}
	if act.command == "help" {
		fmt.Fprint(stdout, rootUsage)
		return exitOK
	}
	c, err := config.Load(rest, environ)
	if err != nil {
		return misconfigured(err, rootUsage, stdout, stderr)
	}
	log, err := logging.New(stderr, c.LogFormat, "warn")
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitUsage
	}
	err = app.WithRoots(ctx, c, log, act.seen, func(ctx context.Context, roots *root.Service) error {
		return act.run(ctx, roots, stdout)
	})
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func parseRootAct(args []string) (act rootAct, rest []string, err error) {
	act.seen = 30 * 24 * time.Hour
	var words []string
	for i := 0; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		switch {
		case args[i] == "--help" || args[i] == "-h":
			return rootAct{command: "help"}, nil, nil
		case args[i] == "--force":
			act.force = true
		case name == "--days":
			if !assigned && i+1 < len(args) {
				i++
				value = args[i]
			}
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 36500 {
				return act, nil, fmt.Errorf("--days: %q: want a number of days", value)
			}
			act.seen = time.Duration(n) * 24 * time.Hour
		case strings.HasPrefix(args[i], "-"):
			rest = append(rest, args[i])
			if !assigned && i+1 < len(args) {
				i++
				rest = append(rest, args[i])
			}
		default:
			words = append(words, args[i])
		}
	}
	if len(words) > 0 {
		act.command = words[0]
	}
	switch {
	case act.command == "retire" && len(words) == 2:
		act.sha256 = words[1]
		return act, rest, nil
	case act.command == "retire":
		return act, nil, errors.New("root retire: which root? Name it by the first digits of its SHA-256")
	case len(words) == 1 && (act.command == "list" || act.command == "prepare" || act.command == "promote" || act.command == "help"):
		return act, rest, nil
	default:
		return act, nil, fmt.Errorf("root: what to do? %q is not understood", strings.Join(words, " "))
	}
}

func (a rootAct) run(ctx context.Context, roots *root.Service, out io.Writer) error {
	switch a.command {
	case "prepare":
		r, err := roots.Prepare(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "the next root is %s\n"+
			"Connected agents are told of it now, others when they return: see controller root list.\n"+
			"Back up the keys folder. Then: controller root promote\n", r.SHA256)
	case "promote":
		r, err := roots.Promote(ctx, a.force)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "the root %s signs from now on\n"+
			"The one before it still serves agents that do not trust this one. Once nobody needs it: controller root retire <sha256>\n", r.SHA256)
	case "retire":
		r, err := roots.Retire(ctx, a.sha256, a.force)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "the root %s is given up and its key removed\nAn agent that trusts no other root must be installed anew.\n", r.SHA256)
	default:
		list, err := roots.List(ctx)
		if err != nil {
			return err
		}
		for _, p := range list {
			showRoot(out, p, a.seen)
		}
	}
	return nil
}

func showRoot(out io.Writer, p root.Progress, seen time.Duration) {
	since := ""
	if !p.Since.IsZero() {
		since = " since " + p.Since.UTC().Format(time.DateTime)
	}
	fmt.Fprintf(out, "%s  %s%s, valid until %s\n", p.SHA256, p.State, since, p.NotAfter.UTC().Format(time.DateOnly))
	fmt.Fprintf(out, "    %d of %d agents trust it; of those seen in the last %d days %d of %d\n",
		p.All.Trusted, p.All.Agents, int(seen/(24*time.Hour)), p.Recent.Trusted, p.Recent.Agents)
	if names := root.Names(p); names != "" {
		fmt.Fprintf(out, "    missing: %s\n", names)
	}
}
