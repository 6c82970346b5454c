package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"strings"

	"fairlead.dev/crane/internal/app"
	"fairlead.dev/crane/internal/selfupdate"
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
	var s settings
	flags := flag.NewFlagSet("crane "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	text := func(at *string, name, value, usage string) { flags.StringVar(at, name, value, usage) }
	text(&s.app.StateDir, "state-dir", cmp.Or(getenv("CRANE_STATE_DIR"), getenv("FAIRLEAD_STATE_DIR"), defaultStateDir),
		"folder the agent keeps everything in (CRANE_STATE_DIR)")
	text(&s.app.Kubeconfig, "kubeconfig", getenv("KUBECONFIG"), "`file` that says how the API server is reached; in a pod none is needed (KUBECONFIG)")
	namespaces := flags.String("namespaces", getenv("CRANE_NAMESPACES"),
		"the only namespaces that deployments may go to, separated by ','; none means any (CRANE_NAMESPACES)")
	text(&s.app.OwnNamespace, "own-namespace", getenv("CRANE_OWN_NAMESPACE"), "namespace the agent itself runs in (CRANE_OWN_NAMESPACE)")
	text(&s.app.StateSecret, "state-secret", getenv("CRANE_STATE_SECRET"),
		"secret in its own namespace that keeps a copy of the state folder (CRANE_STATE_SECRET)")
	text(&s.app.Lease, "lease", getenv("CRANE_LEASE"), "lease in its own namespace under which one of several pods acts (CRANE_LEASE)")
	text(&s.app.EnrolmentFile, "enrolment-file", getenv("CRANE_ENROLMENT_FILE"), "`file` with what to enrol with (CRANE_ENROLMENT_FILE)")
	text(&s.app.Image, "image", getenv(selfupdate.EnvImage), "the agent's own image, as nodes pull it: it fills volumes before pods start (CRANE_IMAGE)")
	text(&s.app.ReleaseKey, "release-key", getenv("CRANE_RELEASE_KEY"), "what builds of the agent must be signed by, base64 (CRANE_RELEASE_KEY)")
	text(&s.logFormat, "log-format", cmp.Or(getenv("CRANE_LOG_FORMAT"), "json"), "json or text (CRANE_LOG_FORMAT)")
	text(&s.logLevel, "log-level", cmp.Or(getenv("CRANE_LOG_LEVEL"), "info"), "debug, info, warn or error (CRANE_LOG_LEVEL)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, tell(stderr, "crane: %q is not understood", flags.Arg(0))
	}
	s.app.UpdateID = getenv(selfupdate.EnvUpdateID)
	s.app.Namespaces = strings.FieldsFunc(*namespaces, func(r rune) bool { return r == ',' || r == ' ' })
	if s.app.OwnNamespace == "" {
		switch {
		case s.app.StateSecret != "":
			return s, tell(stderr, "crane: state-secret needs own-namespace")
		case s.app.Lease != "":
			return s, tell(stderr, "crane: lease needs own-namespace")
		}
	}
	return s, nil
}

func tell(stderr io.Writer, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	fmt.Fprintln(stderr, err)
	return err
}
