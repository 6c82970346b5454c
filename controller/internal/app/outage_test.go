package app_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// connected is how many agents a controller says it has.
func connected(t *testing.T, c *controllertest.Controller) int {
	t.Helper()
	_, rest, _ := strings.Cut(string(c.Anonymous(t).Get("/metrics").Expect(t, http.StatusOK).Body), "\nfairlead_agents_connected ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("the metrics say %q: %v", line, err)
	}
	return n
}

// TestAControllerWithoutItsDatabaseGivesItsAgentsToOneThatHasIt takes the
// database from one of two controllers only.
func TestAControllerWithoutItsDatabaseGivesItsAgentsToOneThatHasIt(t *testing.T) {
	one := controllertest.New(t)
	database, through := controllertest.NewDatabaseForwarder(t, one.DSN)
	two := one.Replica(t, "DATABASE_URL="+through)
	balancer := controllertest.NewBalancer(t, two, one)
	admin := one.Admin(t)
	node, deployment := place(t, admin)
	e := admin.Install(t, "acme", node)
	e.Controller = balancer.Addr
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	awaitNode(t, admin, node, "connected")
	controllertest.Await(t, "the agent is at the second", func() (bool, string) {
		n := connected(t, two)
		return n == 1, fmt.Sprint(n, " agents are there, and ", connected(t, one), " at the first")
	})
	database.Stall() // nobody says a word
	controllertest.Await(t, "the second is not ready", func() (bool, string) {
		ready, says := two.Ready(t)
		return !ready && strings.Contains(says, "[-] database"), says
	})
	controllertest.Await(t, "the agent is at the first", func() (bool, string) {
		return connected(t, one) == 1 && connected(t, two) == 0, ""
	})
	admin.Post(deployment+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	database.Heal(false)
	controllertest.Await(t, "the second is ready again", func() (bool, string) { return two.Ready(t) })
	admin.Post(deployment+"/start?wait=5m", nil).Expect(t, http.StatusOK)
}

// TestAControllerStartsThoughTheDatabaseEndsAConnection breaks one after the
// other those that a start needs: the first is for seeing whether the database
// answers, the second for the migrations.
func TestAControllerStartsThoughTheDatabaseEndsAConnection(t *testing.T) {
	one := controllertest.New(t)
	database, through := controllertest.NewDatabaseForwarder(t, one.DSN)
	for _, nth := range []int{1, 2} {
		database.Break(nth)
		two := one.Replica(t, "DATABASE_URL="+through)
		controllertest.Await(t, "it is ready", func() (bool, string) { return two.Ready(t) })
		two.Stop()
	}
}

// TestWithoutAnyDatabaseAgentsStay takes it from both.
func TestWithoutAnyDatabaseAgentsStay(t *testing.T) {
	first := controllertest.New(t)
	database, through := controllertest.NewDatabaseForwarder(t, first.DSN)
	admin := first.Admin(t)
	node, deployment := place(t, admin)
	e := admin.Install(t, "acme", node)
	one := first.Replica(t, "DATABASE_URL="+through)
	two := first.Replica(t, "DATABASE_URL="+through)
	first.Stop()
	balancer := controllertest.NewBalancer(t, two, one)
	e.Controller = balancer.Addr
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	controllertest.Await(t, "the agent is there", func() (bool, string) { return connected(t, two) == 1, "" })
	database.Cut()
	for _, c := range []*controllertest.Controller{one, two} {
		controllertest.Await(t, "it is not ready", func() (bool, string) {
			ready, says := c.Ready(t)
			return !ready, says
		})
	}
	// Longer than it takes until agents are given away.
	enough := time.After(8 * time.Second)
	controllertest.Await(t, "it could have given the agent away", func() (bool, string) {
		if n := connected(t, two); n != 1 {
			t.Fatalf("the agent left: %d are connected", n)
		}
		select {
		case <-enough:
			return true, ""
		default:
			return false, "not yet"
		}
	})
	database.Heal(false)
	controllertest.Await(t, "it is ready again", func() (bool, string) { return two.Ready(t) })
	two.Admin(t).Post(deployment+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	if n := connected(t, two); n != 1 {
		t.Errorf("%d agents are connected", n)
	}
}
