package teamapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// What the benchmarks ask with, and for how long.
const (
	benchClients = 8
	benchFor     = time.Second
	benchTurns   = 5
	// benchAllocs is how many requests allocations are counted over.
	benchAllocs = 300
)

// figure prints one line of what make bench shows: name, value, unit, the floor
// in the same unit, and value by floor.
func figure(name string, value float64, unit string, floor float64) {
	peer, ratio := "-", "-"
	if floor > 0 {
		peer, ratio = fmt.Sprintf("%.1f", floor), fmt.Sprintf("%.2f", value/floor)
	}
	_, _ = fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.1f\t%s\t%s\t%s\n", name, value, unit, peer, ratio)
}

// target is what is asked again and again.
type target struct {
	name, method, url, token string
}

// load is how a target bears being asked.
type load struct {
	perSecond, p99 float64 // p99 in ms
}

// answers is how long each of several requests took, and all of them together.
type answers struct {
	took []time.Duration
	all  time.Duration
}

func (a answers) load() load {
	slices.Sort(a.took)
	return load{perSecond: float64(len(a.took)) / a.all.Seconds(), p99: a.took[len(a.took)*99/100].Seconds() * 1000}
}

func (x target) ask(b *testing.B, client *http.Client) {
	req, err := http.NewRequestWithContext(b.Context(), x.method, x.url, http.NoBody)
	if err != nil {
		b.Error(err)
		return
	}
	if x.token != "" {
		req.Header.Set("Authorization", "Bearer "+x.token)
	}
	res, err := client.Do(req)
	if err != nil {
		b.Errorf("%s: %v", x.name, err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		b.Errorf("%s: status %d", x.name, res.StatusCode)
	}
}

// bear asks the target by several clients at once, for a while.
func (x target) bear(b *testing.B, during time.Duration) answers {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: benchClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithTimeout(b.Context(), during)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var list []time.Duration
	began := time.Now()
	for range benchClients {
		wg.Go(func() {
			var mine []time.Duration
			for ctx.Err() == nil {
				at := time.Now()
				x.ask(b, client)
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			list = append(list, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers{took: list, all: time.Since(began)}
}

// inTurns measures two targets in short turns, so that both have the same of
// whatever else the machine does. Before, each is asked until the connections
// to the database are there and have their plans.
func inTurns(b *testing.B, one, other target) (load, load) {
	b.Helper()
	var results [2]answers
	for turn := range benchTurns + 1 {
		for i, t := range []target{one, other} {
			got := t.bear(b, benchFor/benchTurns)
			if turn > 0 {
				results[i].took = append(results[i].took, got.took...)
				results[i].all += got.all
			}
		}
	}
	return results[0].load(), results[1].load()
}

// allocations counts those of a request, with the client's.
func (x target) allocations(b *testing.B, client *http.Client) float64 {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range benchAllocs {
		x.ask(b, client)
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / benchAllocs
}

// answerNothing is a server that allocates nothing: what asking it allocates is
// the client's.
func answerNothing(b *testing.B) target {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewReader(conn)
				answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
				for {
					line, err := lines.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 { // the end of the headers
						if _, err := conn.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return target{name: "client", method: http.MethodGet, url: "http://" + l.Addr().String() + "/"}
}

// projectRecord is the row that the bare handler selects.
type projectRecord struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Type        string
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string
}

func (projectRecord) TableName() string { return "projects" }

// bareHandler serves one row by its primary key, through Gin and GORM and
// nothing else.
func bareHandler(b *testing.B, dsn, id string) target {
	b.Helper()
	gin.SetMode(gin.ReleaseMode)
	db, err := gorm.Open(gormpostgres.Open(dsn), &gorm.Config{SkipDefaultTransaction: true, Logger: logger.Discard})
	if err != nil {
		b.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		b.Fatal(err)
	}
	pool.SetMaxOpenConns(20)
	pool.SetMaxIdleConns(20)
	b.Cleanup(func() { _ = pool.Close() })
	engine := gin.New()
	engine.GET("/projects/:id", func(c *gin.Context) {
		var row projectRecord
		if err := db.WithContext(c.Request.Context()).Where("id = ?", c.Param("id")).Take(&row).Error; err != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, row)
	})
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	b.Cleanup(func() { _ = server.Close() })
	return target{name: "bare", method: http.MethodGet, url: "http://" + l.Addr().String() + "/projects/" + id}
}

// benchTenant is a team with a node whose agent is connected and a deployment
// that runs.
func benchTenant(b *testing.B) (cast, tenant) {
	b.Helper()
	c := controllertest.NewQuiet(b)
	k := cast{Controller: c, people: map[actor.Role]*controllertest.Client{actor.Owner: c.Admin(b)}}
	owner := k.people[actor.Owner]
	k.teamID = owner.Post("/api/teams", object{"name": "Acme", "slug": "acme"}).Expect(b, http.StatusCreated).String(b, "id")
	x := k.newTenant(b, owner, "acme")
	e := owner.Install(b, "acme", x.rows["{nodeId}"])
	controllertest.StartAgent(b, b.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	controllertest.Await(b, "the node is connected", func() (bool, string) {
		r := owner.Get("/api/acme/nodes/" + x.rows["{nodeId}"])
		return strings.Contains(string(r.Body), `"connected"`), string(r.Body)
	})
	owner.Post("/api/acme/deployments/"+x.rows["{deploymentId}"]+"/start?wait=5m", nil).Expect(b, http.StatusOK)
	return k, x
}

// BenchmarkHottestRequests measures what is asked the most, beside a bare
// handler in the same run.
func BenchmarkHottestRequests(b *testing.B) {
	k, x := benchTenant(b)
	team, token := k.URL+"/api/acme", x.Token()
	targets := []target{
		// One indexed select of one row, as the bare handler's: what is between
		// them is the API itself, with authentication and permission.
		{name: "get_token", method: http.MethodGet, url: k.URL + "/api/tokens/" + x.rows["{tokenId}"]},
		{name: "get_project", method: http.MethodGet, url: team + "/projects/" + x.rows["{projectId}"]},
		{name: "get_deployment", method: http.MethodGet, url: team + "/deployments/" + x.rows["{deploymentId}"]},
		{name: "list_deployments", method: http.MethodGet, url: team + "/deployments"},
		{name: "list_nodes", method: http.MethodGet, url: team + "/nodes"},
		{name: "list_containers", method: http.MethodGet, url: team + "/nodes/" + x.rows["{nodeId}"] + "/containers"},
		{name: "start", method: http.MethodPost, url: team + "/deployments/" + x.rows["{deploymentId}"] + "/start"},
	}
	nothing := answerNothing(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchClients}}
	own := nothing.allocations(b, client)
	bare := bareHandler(b, k.DSN, x.rows["{projectId}"])
	for _, t := range targets {
		t.token = token
		b.Run(t.name, func(b *testing.B) {
			for b.Loop() {
				got, floor := inTurns(b, t, bare)
				figure("api_"+t.name, got.perSecond, "requests/s", floor.perSecond)
				figure("api_"+t.name+"_p99", got.p99, "ms", floor.p99)
				figure("api_"+t.name+"_allocs", t.allocations(b, client)-own, "allocs", bare.allocations(b, client)-own)
			}
		})
	}
}

// BenchmarkLongLists measures lists of many: how long they take at worst and
// how many statements.
func BenchmarkLongLists(b *testing.B) {
	const deployments, nodes, events = 10_000, 1_000, 1_000_000
	k, x := benchTenant(b)
	k.multiply(b, deployments-1, "deployments", "id", x.rows["{deploymentId}"],
		map[string]string{"id": "gen_random_uuid()", "prefix": "'p' || n", "created_at": "now() - n * interval '1 second'"})
	k.multiply(b, nodes-1, "nodes", "id", x.rows["{nodeId}"], map[string]string{"id": "gen_random_uuid()", "name": "'n' || n"})
	k.execute(b, `insert into audit_log (team_id, actor_type, actor_name, method, event, data, created_at)
		select $1, 'system', 'x', '', 'x', '{}', now() - n * interval '1 second' from generate_series(1, $2::int) n`, x.rows["{teamId}"], events)
	k.execute(b, `insert into deployment_events (deployment_id, release, type, level, lines, created_at)
		select d.id, 1, 'log', 'info', '["x"]', now() from deployments d, generate_series(1, $1::int / $2::int) n`, events, deployments)
	k.execute(b, "vacuum analyze")
	const between = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&take=100&skip="
	lists := []struct{ name, path, query string }{
		{"10000_deployments_first_100", "/deployments", "take=100"},
		{"10000_deployments_1000_at_most", "/deployments", ""},
		{"10000_deployments_last_100", "/deployments", "take=100&skip=9900"},
		{"1000_nodes", "/nodes", ""},
		{"1000000_audit_events_first_100", "/audit-log", between + "0"},
		{"1000000_audit_events_behind_100000", "/audit-log", between + "100000"},
		{"a_log_among_1000000_events", "/deployments/{deploymentId}/log", "take=100&skip=0"},
	}
	for b.Loop() {
		for _, l := range lists {
			o := operation{Method: http.MethodGet, Path: "/api/{teamSlug}" + l.path}
			path, _, _ := strings.Cut(o.at("", "", x.rows), "?")
			t := target{name: l.name, method: http.MethodGet, token: x.Token(), url: k.URL + path + "?" + l.query}
			t.bear(b, benchFor/benchTurns)
			got := t.bear(b, benchFor).load()
			figure("api_list_"+l.name, got.perSecond, "requests/s", 0)
			figure("api_list_"+l.name+"_p99", got.p99, "ms", 0)
			before := statements(b, k, o)
			x.Get(path+"?"+l.query).Expect(b, http.StatusOK)
			figure("api_list_"+l.name+"_statements", float64(statements(b, k, o)-before), "statements", 0)
		}
	}
}
