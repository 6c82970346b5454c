package spec

// This file is the only place where defaults are.

// DefaultReplicas is how many containers a workload has when nothing is said.
const DefaultReplicas = 1

// ImageUser is how clients of the API name the image's own user.
const ImageUser int64 = -1

// Normalize returns the deployment with every default filled in, so that an
// agent finds each choice made. It is idempotent and changes only a copy of
// what it is given.
func Normalize(d Deployment) Deployment {
	workloads := make([]Workload, len(d.Workloads))
	for i, w := range d.Workloads {
		w.Container = normalizeContainer(w.Container)
		workloads[i] = w
	}
	d.Workloads = workloads
	return d
}

// WithDefaults returns the container with its defaults for what it says nothing
// about.
func (c Container) WithDefaults() Container {
	fill(&c.Expose, ExposeNone)
	fill(&c.TTY, false)
	fill(&c.Replicas, DefaultReplicas)
	fill(&c.RestartPolicy, RestartUnlessStopped)
	fill(&c.NetworkMode, NetworkBridge)
	fill(&c.DeploymentStrategy, StrategyRolling) // who wants downtime asks for it
	fill(&c.ProxyHeaders, false)
	fill(&c.UseLoadBalancer, false)
	return c
}

func normalizeContainer(c Container) Container {
	c = c.WithDefaults()
	c.Hooks = normalizeHooks(c.Hooks)
	if c.User != nil && *c.User < 0 {
		c.User = nil
	}
	if c.LogConfig != nil && c.LogConfig.Driver == LogNodeDefault {
		c.LogConfig = nil
	}
	c.Ports = each(c.Ports, func(p *Port) {
		if p.Protocol == "" {
			p.Protocol = "tcp"
		}
	})
	c.PortRanges = each(c.PortRanges, func(p *PortRange) {
		if p.Protocol == "" {
			p.Protocol = "tcp"
		}
	})
	c.Volumes = each(c.Volumes, func(v *Volume) {
		if v.Type == "" {
			v.Type = VolumeReadWriteOnce
		}
	})
	return c
}

func fill[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// each applies f to a copy of the list's entries; an empty list becomes nil.
func each[T any](list []T, f func(*T)) []T {
	var out []T
	for _, item := range list {
		f(&item)
		out = append(out, item)
	}
	return out
}
