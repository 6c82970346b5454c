package spec

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Formats of texts that a node would refuse later: what can never be right is
// said where it is written.
var (
	hostName    = regexp.MustCompile(`^(\*\.)?[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*\.?$`)
	headerField = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	uploadLimit = regexp.MustCompile(`^\s*[0-9]+(\.[0-9]+)?\s?([kKmMgGtTpP]i?)?[bB]?\s*$`)
)

// Bounds of what the formats allow.
const (
	maxHostName = 253
	// Shells tell of the end by a signal as 128 and its number.
	minExitCode, maxExitCode = -127, 255
)

func routing(c check, r *Routing) {
	if r == nil {
		return
	}
	c.at("domain").that(r.Domain == "" || len(r.Domain) <= maxHostName && hostName.MatchString(r.Domain), r.Domain,
		"must be a host name, without a port")
	urlPath(c.at("path"), r.Path)
	c.at("uploadLimit").that(r.UploadLimit == "" || uploadLimit.MatchString(r.UploadLimit), r.UploadLimit,
		"must be a size such as 10m or 512k; 0 is no limit")
	portOrNone(c.at("port"), r.Port)
}

func expectedState(c check, e *ExpectedState) {
	if e == nil {
		return
	}
	oneOf(c.at("state"), &e.State)
	c.at("timeout").that(e.TimeoutSeconds >= 0, e.TimeoutSeconds, "must not be negative")
	c.at("exitCode").that(e.ExitCode >= minExitCode && e.ExitCode <= maxExitCode, e.ExitCode, "must be %d to %d", minExitCode, maxExitCode)
}

func healthCheck(c check, h *HealthCheckConfig) {
	if h == nil {
		return
	}
	probes := h.LivenessProbe != "" || h.ReadinessProbe != "" || h.StartupProbe != ""
	c.at("port").that(h.Port > 0 && h.Port <= maxPort || h.Port == 0 && !probes, h.Port, "must be 1 to %d", maxPort)
	probe(c.at("livenessProbe"), h.LivenessProbe)
	probe(c.at("readinessProbe"), h.ReadinessProbe)
	probe(c.at("startupProbe"), h.StartupProbe)
}

func metrics(c check, m *Metrics) {
	if m == nil {
		return
	}
	urlPath(c.at("path"), m.Path)
	portOrNone(c.at("port"), m.Port)
}

func configContainer(c check, conf Container) {
	cc := conf.ConfigContainer
	if cc == nil {
		return
	}
	image(c.at("image"), cc.Image)
	c.at("volume").that(hasVolume(conf, cc.Volume), cc.Volume, "is not the name of one of the volumes")
	if cc.Path != "" {
		folder := strings.HasPrefix(cc.Path, "/") && strings.Trim(cc.Path, "/") != "" && !strings.Contains(cc.Path, "\x00")
		c.at("path").that(folder, cc.Path, "must be the absolute path of a folder in the image")
	}
}

func storage(c check, conf Container) {
	s := conf.Storage
	if s == nil || s.StorageID == "" {
		return
	}
	c.at("path").that(hasVolume(conf, s.Path), s.Path, "is not the name of one of the volumes")
	parts := strings.Split(strings.Trim(s.Bucket, "/"), "/")
	c.at("bucket").that(!slices.Contains(parts, "..") && !strings.ContainsFunc(s.Bucket, isControl), s.Bucket,
		"must be the name of a bucket, or of a bucket and a folder in it")
}

func capabilities(c check, list []KeyValue) {
	pairs(c, list, wordKey)
	for i, kv := range list {
		c.at("[%d].value", i).that(slices.Contains([]string{"", "add", "true", "drop", "false"}, strings.ToLower(kv.Value)), kv.Value,
			"must be add, drop or empty, which is add")
	}
}

func networks(c check, list []Key) {
	keys(c, list)
	for i, k := range list {
		c.at("[%d].key", i).that(fileName.MatchString(k.Key), k.Key, "must be the name of a network: letters, digits, '_', '.' and '-'")
	}
}

func headers(c check, list []Key) {
	keys(c, list)
	for i, k := range list {
		c.at("[%d].key", i).that(headerField.MatchString(k.Key), k.Key, "must be the name of a header")
	}
}

// image takes what an engine takes: the node reads it with the same function.
func image(c check, text string) {
	if text == "" {
		c.fail(text, "is missing")
		return
	}
	if _, err := reference.ParseNormalizedNamed(text); err != nil {
		c.fail(text, "must be an image such as registry.example.com:5000/group/app:1.0")
	}
}

// probe allows the path of a probe, which may have a query.
func probe(c check, p string) {
	c.that(!strings.ContainsFunc(p, isControl) && !strings.Contains(p, "://"), p, "must be a path such as /healthz")
}

func urlPath(c check, p string) {
	c.that(!strings.ContainsFunc(p, isControl) && !strings.ContainsAny(p, `?#\`), p, `must be a path, without white space, ?, # and \`)
}

// portOrNone allows 0, for nothing said.
func portOrNone(c check, value int32) {
	c.that(value >= 0 && value <= maxPort, value, "must be 1 to %d, or 0 for none", maxPort)
}

// isControl reports white space and control characters.
func isControl(r rune) bool { return r <= ' ' || r == 0x7f }
