package kube

import (
	"strconv"

	"fairlead.dev/shared/spec"
)

// Annotations by which a Prometheus that looks at pods finds what to scrape.
const (
	prometheus     = "prometheus.io/"
	defaultMetrics = "/metrics"
)

func measured(c spec.Container) bool { return c.Metrics != nil && c.Metrics.Enabled }

// metricsPort is where metrics are: the port that is named, or the first one.
func metricsPort(c spec.Container) int32 {
	if c.Metrics.Port != 0 || len(c.Ports) == 0 {
		return c.Metrics.Port
	}
	return c.Ports[0].Internal
}

// scraped tells a collector where pods serve their metrics.
func scraped(c spec.Container, annotations map[string]string) {
	if !measured(c) {
		return
	}
	path := c.Metrics.Path
	if path == "" {
		path = defaultMetrics
	}
	annotations[prometheus+"scrape"] = "true"
	annotations[prometheus+"path"] = path
	annotations[prometheus+"port"] = strconv.Itoa(int(metricsPort(c)))
}

func (p *problems) checkMetrics(c spec.Container) {
	if measured(c) && metricsPort(c) == 0 {
		p.invalid("metrics.port", "is missing, and ports names no port to ask for metrics")
	}
}
