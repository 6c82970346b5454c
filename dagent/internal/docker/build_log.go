package docker

import (
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
)

func logConfig(c *spec.LogConfig) container.LogConfig {
	if c == nil || c.Driver == spec.LogNodeDefault {
		return container.LogConfig{}
	}
	options := map[string]string{}
	for _, kv := range c.Options {
		options[kv.Key] = kv.Value
	}
	return container.LogConfig{Type: string(c.Driver), Config: options}
}

// logOptions are the options that drivers take from a deployment. Those that
// make the engine read the host's files or write to its sockets are not among
// them.
func logOptions() map[string][]string {
	return map[string][]string{
		"none":       {},
		"local":      {"max-size", "max-file", "compress"},
		"json-file":  {"max-size", "max-file", "compress"},
		"journald":   {},
		"syslog":     {"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-skip-verify"},
		"gelf":       {"gelf-address", "gelf-compression-type", "gelf-compression-level", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"},
		"logentries": {"logentries-token", "line-only"},
		"fluentd": {
			"fluentd-address", "fluentd-async", "fluentd-async-connect", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
			"fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision",
		},
		"awslogs": {
			"awslogs-region", "awslogs-group", "awslogs-stream", "awslogs-create-group", "awslogs-create-stream", "awslogs-datetime-format",
			"awslogs-multiline-pattern", "awslogs-format", "awslogs-force-flush-interval-seconds", "awslogs-max-buffered-events",
		},
		"splunk": {
			"splunk-token", "splunk-url", "splunk-source", "splunk-sourcetype", "splunk-index", "splunk-format", "splunk-gzip",
			"splunk-gzip-level", "splunk-verify-connection", "splunk-insecureskipverify",
		},
		"gcplogs": {"gcp-project", "gcp-log-cmd", "gcp-meta-zone", "gcp-meta-name", "gcp-meta-id"},
	}
}

// everyLogOptions are the options that all drivers but "none" take.
func everyLogOptions() []string {
	return []string{
		"mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag",
		"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress",
	}
}

// permitLog decides where a container's output may go.
func permitLog(r *refusal, c container.LogConfig) {
	own, known := logOptions()[c.Type]
	switch {
	case c.Type == "" && len(c.Config) == 0:
		return
	case !known:
		r.add("logConfig.driver: %q is not a driver for this agent", c.Type)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Config)) {
		if !slices.Contains(own, name) && (c.Type == "none" || !slices.Contains(everyLogOptions(), name)) {
			r.add("logConfig.options: driver %s takes no option %s from a deployment", c.Type, name)
		}
		if strings.HasSuffix(name, "-address") && !isNetworkAddress(c.Config[name]) {
			r.add("logConfig.options: %s must be a network address such as tcp://host:port", name)
		}
	}
}

// isNetworkAddress reports whether an address of a log driver is one of the
// network; others are sockets of the host.
func isNetworkAddress(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	if !found {
		return text != "" && !strings.Contains(text, "/")
	}
	return slices.Contains([]string{"tcp", "udp", "tcp+tls", "tls"}, strings.ToLower(scheme))
}
