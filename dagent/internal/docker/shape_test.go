package docker_test

import "fairlead.dev/shared/spec"

// shape is a change of a deployment: what there was, and what is asked for.
type shape struct {
	old, next []spec.Workload
	policy    spec.Policy
	// fails is true when next never becomes healthy.
	fails bool
}

func from(image string, w spec.Workload) spec.Workload {
	w.Image.Reference = image
	return w
}

func count(n int32) change { return func(c *spec.Container) { c.Replicas = &n } }

func health(state string) change {
	return func(c *spec.Container) {
		c.Environment = append(c.Environment, spec.KeyValue{Key: "HEALTH", Value: state})
	}
}

func shapes() map[string]shape {
	const image = "registry.test/program:1"
	web := func(changes ...change) spec.Workload { return from(image, web(changes...)) }
	db := func(changes ...change) spec.Workload { return from(image, named("db", changes...)) }
	checked := func(changes ...change) spec.Workload { return from(checkedImage, named("api", changes...)) }
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	shared := func(c *spec.Container) { c.Networks = keys("shared") }
	exposed := func(c *spec.Container) { plain := spec.ExposePlain; c.Expose = &plain }
	hooked := hooks(hookWith("exit", "0"), hookWith("exit", "0"))
	prepared := func(c *spec.Container) {
		c.InitContainers = []spec.InitContainer{{Name: "prepare", Image: image, Args: keys("exit", "0")}}
		for _, v := range c.Volumes {
			c.InitContainers[0].Volumes = append(c.InitContainers[0].Volumes, spec.VolumeLink{Name: v.Name, Path: "/in"})
		}
	}
	unprepared := func(c *spec.Container) {
		c.InitContainers = []spec.InitContainer{{Name: "prepare", Image: image, Args: keys("exit", "1")}}
	}
	one, two := greet("one"), greet("two")
	return map[string]shape{
		"first":          {next: []spec.Workload{web(), db()}},
		"beside":         {old: []spec.Workload{web(one), db(one), checked(one)}, next: []spec.Workload{web(two), db(two), checked(two)}},
		"one of three":   {old: []spec.Workload{web(one), db(one), checked(one)}, next: []spec.Workload{web(one), db(two), checked(one)}},
		"port":           {old: []spec.Workload{web(one, publishes(8080)), db(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two)}},
		"volume":         {old: []spec.Workload{web(one), db(one, data)}, next: []spec.Workload{web(two), db(two, data)}},
		"port moves":     {old: []spec.Workload{web(publishes(8080)), db(one)}, next: []spec.Workload{web(), db(publishes(8080))}},
		"retire":         {old: []spec.Workload{web(one), db(one)}, next: []spec.Workload{web(two)}},
		"more":           {old: []spec.Workload{web(count(2), shared)}, next: []spec.Workload{web(count(3), shared)}},
		"fewer":          {old: []spec.Workload{web(count(3))}, next: []spec.Workload{web(count(1))}},
		"several":        {old: []spec.Workload{web(count(3), one, shared), db(one)}, next: []spec.Workload{web(count(3), two, shared), db(one)}},
		"one to several": {old: []spec.Workload{web(one)}, next: []spec.Workload{web(count(2), one)}},
		"in order": {
			old: []spec.Workload{web(one, publishes(8080)), db(one), checked(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two), checked(two)},
			policy: spec.Policy{Parallelism: 1, DrainSeconds: 5},
		},
		"failing":            {old: []spec.Workload{web(one), db(one)}, next: []spec.Workload{web(two), db(two, args("exit", "1"))}, fails: true},
		"failing, port":      {old: []spec.Workload{web(one, publishes(8080)), db(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two, args("exit", "1"))}, fails: true},
		"failing, unhealthy": {old: []spec.Workload{checked(one), db(one, data)}, next: []spec.Workload{checked(two, health("bad")), db(two, data)}, fails: true},
		"failing, several":   {old: []spec.Workload{web(count(2), one)}, next: []spec.Workload{web(count(2), two, args("exit", "1"))}, fails: true},
		"failing first":      {next: []spec.Workload{web(), db(args("exit", "1"))}, fails: true},

		"hooks":          {old: []spec.Workload{web(one, hooked), db(one)}, next: []spec.Workload{web(two, hooked), db(two)}},
		"hooks, first":   {next: []spec.Workload{web(hooked), db(hooked)}},
		"hooks, port":    {old: []spec.Workload{web(one, publishes(8080), hooked)}, next: []spec.Workload{web(two, publishes(8080), hooked)}},
		"hooks, several": {old: []spec.Workload{web(count(2), one, hooked)}, next: []spec.Workload{web(count(3), two, hooked)}},
		"init":           {old: []spec.Workload{web(one, prepared), db(one)}, next: []spec.Workload{web(two, prepared), db(two)}},
		"init, volume":   {old: []spec.Workload{web(one), db(one, data, prepared)}, next: []spec.Workload{web(two), db(two, data, prepared)}},
		"routes":         {old: []spec.Workload{checked(one, exposed), db(one)}, next: []spec.Workload{checked(two, exposed), db(two)}},
		"routes, more":   {old: []spec.Workload{checked(count(2), one, exposed)}, next: []spec.Workload{checked(count(3), one, exposed)}},
		"routes, port":   {old: []spec.Workload{checked(one, exposed, publishes(8080)), db(one)}, next: []spec.Workload{checked(two, exposed, publishes(8080)), db(two)}},
		"routes end":     {old: []spec.Workload{checked(one, exposed), db(one)}, next: []spec.Workload{db(two)}},
		"routes, several": {
			old: []spec.Workload{checked(count(2), one, exposed, shared)}, next: []spec.Workload{checked(count(2), two, exposed, shared)},
		},
		"all of it": {
			old:  []spec.Workload{checked(count(2), one, exposed, shared, hooked, prepared), db(one, data, prepared), web(one, publishes(8080), hooked)},
			next: []spec.Workload{checked(count(2), two, exposed, shared, hooked, prepared), db(two, data, prepared), web(two, publishes(8080), hooked)},
		},
		"failing, hook": {
			old:  []spec.Workload{web(one, hooked), checked(one, exposed)},
			next: []spec.Workload{web(two, hooks(hookWith("exit", "1"), hookWith("exit", "0"))), checked(two, exposed)}, fails: true,
		},
		"failing, init":   {old: []spec.Workload{web(one, prepared), db(one)}, next: []spec.Workload{web(two, unprepared), db(two)}, fails: true},
		"failing, routes": {old: []spec.Workload{checked(one, exposed), db(one)}, next: []spec.Workload{checked(two, exposed), db(two, args("exit", "1"))}, fails: true},
		"failing, all of it": {
			old: []spec.Workload{checked(count(2), one, exposed, shared, hooked), db(one, data, prepared), web(one, publishes(8080), hooked)},
			next: []spec.Workload{
				checked(count(2), two, exposed, shared, hooked), db(two, data, prepared), web(two, publishes(8080), hooked, args("exit", "1")),
			}, fails: true,
		},
	}
}
