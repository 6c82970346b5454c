package docker_test

import (
	"strings"
	"testing"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func probing(port int32, startup, readiness string) change {
	return func(c *spec.Container) {
		c.HealthCheckConfig = &spec.HealthCheckConfig{Port: port, StartupProbe: startup, ReadinessProbe: readiness}
	}
}

func TestProbesOverTheNetworkDecide(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		changes []change
		said    string // on the card, when it fails
	}{
		{"ready", []change{args("serve", "ok"), probing(80, "", "/ready")}, ""},
		{"ready in the end, after it has started", []change{args("serve", "third"), probing(80, "/started", "ready")}, ""},
		{"takes connections", []change{args("serve", "bad"), probing(80, "", "")}, ""},
		{"on a network of its own", []change{args("serve", "ok"), probing(80, "", "/ready"), func(c *spec.Container) { c.Networks = keys("probed-" + token()) }}, ""},
		{"never ready", []change{args("serve", "bad"), probing(80, "", "/ready"), within(2)}, "GET :80/ready: 503 Service Unavailable /ready is bad"},
		{"takes no connections", []change{args("serve", "ok"), probing(81, "", ""), within(2)}, "connect to port 81: "},
		{"ends", []change{args("exit", "3"), probing(80, "", "/ready")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, quick())
			s.apply(s.release(1, web(greet("one"))))
			before := s.containers()["web"]
			next := s.release(2, web(test.changes...))
			if test.said == "" && test.name != "ends" {
				s.apply(next)
				return
			}
			failure := s.applyFails(next)
			if failure.Step != workload.StepHealth || !failure.RolledBack || !strings.Contains(failure.ProbeOutput, test.said) {
				t.Errorf("failure card %+v, want the probe's output %q", failure, test.said)
			}
			if test.said != "" && !strings.Contains(failure.Error(), "its probes have not succeeded") {
				t.Errorf("failure %v, want it to speak of the probes", failure)
			}
			if test.name == "ends" && (failure.ExitCode == nil || *failure.ExitCode != 3) {
				t.Errorf("failure card %+v, want exit code 3 though the container is started again and again", failure)
			}
			if c := s.containers()["web"]; c.EngineID != before.EngineID || c.State != spec.StateRunning {
				t.Errorf("web is %+v, want release 1 serving", c)
			}
		})
	}
}

// lookup asks in a container for the addresses of a name.
func (s *site) lookup(in, name string) string {
	s.Helper()
	var said strings.Builder
	_, err := s.driver.Exec(s.Context(), workload.ContainerID{Prefix: s.prefix, Name: in}, workload.ExecOptions{Command: []string{"/program", "lookup", name}},
		workload.ExecStreams{Output: func(_ string, data []byte) error { said.Write(data); return nil }})
	if err != nil {
		s.Fatalf("look up %s in %s: %v", name, in, err)
	}
	return strings.TrimSpace(said.String())
}

func (s *site) address(name, network string) string {
	s.Helper()
	return s.inspect(name).NetworkSettings.Networks[network].IPAddress
}

func TestNamesLeadToContainersThatAreHealthy(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	network := "shop-" + s.prefix
	joins := func(c *spec.Container) { c.Networks = keys(network) }
	client, full := named("client", joins), s.prefix+"-web"
	// Looks are taken when the new container runs and is not proven yet.
	during := map[string]string{}
	s.apply(s.release(1, client, web(joins, greet("one"))))
	old := s.address("web", network)
	if short, long := s.lookup("client", "web"), s.lookup("client", full); short != old || long != old {
		t.Fatalf("web is found at %s and %s, want %s", short, long, old)
	}
	s.onEvent = func(e workload.Event) {
		if e.Reason == "starting" && e.InstanceID == "instance-web" {
			during["web"], during[full] = s.lookup("client", "web"), s.lookup("client", full)
		}
	}
	s.apply(s.release(2, client, web(joins, greet("two"))))
	if during["web"] != old || during[full] != old {
		t.Errorf("while release 2 was brought up web was found at %v, want %s", during, old)
	}
	now := s.address("web", network)
	if short, long := s.lookup("client", "web"), s.lookup("client", full); now == old || short != now || long != now {
		t.Errorf("web is found at %s and %s, want %s, which is not %s", short, long, now, old)
	}

	// Several are found under the same names, new ones when they are healthy.
	s.onEvent = nil
	s.apply(s.release(3, client, web(joins, count(2))))
	both := s.address("web-1", network) + " " + s.address("web-2", network)
	if short := strings.Fields(s.lookup("client", "web")); len(short) != 2 || !strings.Contains(both, short[0]) || !strings.Contains(both, short[1]) {
		t.Errorf("web is found at %v, want %s", short, both)
	}
	before := s.lookup("client", full)
	s.onEvent = func(e workload.Event) {
		if e.Reason == "starting" && e.InstanceID == "instance-web" {
			during["several"] = s.lookup("client", full)
		}
	}
	s.apply(s.release(4, client, web(joins, count(2), greet("four"))))
	if after := s.lookup("client", full); during["several"] != before || after == before || len(strings.Fields(after)) != 2 {
		t.Errorf("web was found at %s before, %s during and %s after the release", before, during["several"], after)
	}
}

func TestSeveralContainersOfAWorkload(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	s.apply(s.release(1, web(count(2)), named("db")))
	first := s.containers()
	if len(first) != 3 || first["web-1"].State != spec.StateRunning || first["web-2"].InstanceID != "instance-web" {
		t.Fatalf("containers are %+v, want web-1, web-2 and db", first)
	}
	if err := s.driver.Restart(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web-2"}); err != nil {
		t.Errorf("restart web-2: %v", err)
	}
	more := s.release(2, web(count(3)), named("db"))
	plan, err := s.driver.Plan(t.Context(), more)
	if w := plan.Workloads[0]; err != nil || w.Action != workload.ActionScale || w.ReplicasNow != 2 || w.ReplicasThen != 3 {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	s.apply(more)
	if found := s.containers(); len(found) != 4 || found["web-1"].EngineID != first["web-1"].EngineID || found["web-3"].Release != 2 {
		t.Errorf("containers are %+v, want one more", found)
	}
	failure := s.applyFails(s.release(3, web(count(3), args("exit", "1")), named("db")))
	if found := s.containers(); !failure.RolledBack || found["web-2"].EngineID != first["web-2"].EngineID || found["web-3"].State != spec.StateRunning {
		t.Errorf("failure card %+v, containers are %+v; want release 2 serving", failure, found)
	}
	s.apply(s.release(4, web(count(1)), named("db")))
	if found := s.containers(); found["web"].State != spec.StateRunning || found["web-1"].EngineID != "" || found["db"].EngineID != first["db"].EngineID {
		t.Errorf("containers are %+v, want web alone, and db untouched", found)
	}
	s.apply(s.release(5, web(count(0)), named("db")))
	if found := s.containers(); found["web"].EngineID != "" || found["db"].EngineID != first["db"].EngineID {
		t.Errorf("containers are %+v, want none of web, and db untouched", found)
	}
}
