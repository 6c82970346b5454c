package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"

	"fairlead.dev/dagent/internal/app"
	"fairlead.dev/dagent/internal/selfupdate"
)

const defaultStateDir = "/var/lib/fairlead-agent"

// settings are the agent's own and how it logs.
type settings struct {
	app       app.Config
	logFormat string
	logLevel  string
}

// parse reads flags, and the environment for what flags do not say. What it
// finds wrong it has told on stderr.
func parse(command string, args []string, getenv func(string) string, stderr io.Writer) (settings, error) {
	s := settings{app: app.Config{UpdateID: getenv(selfupdate.EnvUpdateID)}}
	flags := flag.NewFlagSet("dagent "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	// The install script names the folder by the name that all of Fairlead's
	// programs share.
	stateDir := cmp.Or(getenv("DAGENT_STATE_DIR"), getenv("FAIRLEAD_STATE_DIR"), defaultStateDir)
	flags.StringVar(&s.app.StateDir, "state-dir", stateDir, "folder the agent keeps everything in (DAGENT_STATE_DIR)")
	flags.StringVar(&s.app.DockerHost, "docker-host", getenv("DOCKER_HOST"), "address of the engine (DOCKER_HOST)")
	flags.StringVar(&s.app.SecretsDir, "secrets-dir", getenv("DAGENT_SECRETS_DIR"),
		"folder on a tmpfs, the same on the host, for secrets that are files (DAGENT_SECRETS_DIR)")
	allow := policyFlags(flags, getenv)
	routing := routingFlags(flags, getenv)
	images := imageFlags(flags, getenv)
	flags.StringVar(&s.logFormat, "log-format", cmp.Or(getenv("DAGENT_LOG_FORMAT"), "json"), "json or text (DAGENT_LOG_FORMAT)")
	flags.StringVar(&s.logLevel, "log-level", cmp.Or(getenv("DAGENT_LOG_LEVEL"), "info"), "debug, info, warn or error (DAGENT_LOG_LEVEL)")
	err := flags.Parse(args)
	if err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, tell(stderr, "dagent: %q is not understood", flags.Arg(0))
	}
	if s.app.Policy, err = allow.policy(); err != nil {
		return s, tell(stderr, "dagent: %v", err)
	}
	if s.app.Images, err = images.images(); err != nil {
		return s, tell(stderr, "dagent: %v", err)
	}
	if s.app.Routing, err = routing.routing(); err != nil {
		return s, tell(stderr, "dagent: %v", err)
	}
	return s, nil
}

func tell(stderr io.Writer, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	fmt.Fprintln(stderr, err)
	return err
}
