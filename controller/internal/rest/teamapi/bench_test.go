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
	benchFor     = 2 * time.Second
	// benchAllocs is how many requests allocations are counted over.
	benchAllocs = 500
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
	allocs         float64 // for each request, without the client's
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
func (x target) bear(b *testing.B, during time.Duration) load {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: benchClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	x.ask(b, client) // warm
	ctx, cancel := context.WithTimeout(b.Context(), during)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
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
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(began).Seconds()
	slices.Sort(took)
	return load{
		perSecond: float64(len(took)) / elapsed, p99: took[len(took)*99/100].Seconds() * 1000,
		allocs: x.allocations(b, client),
	}
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
	owner.Post("/api/acme/deployments/"+x.rows["{deploymentId}"]+"/start?wait=1m", nil).Expect(b, http.StatusOK)
	return k, x
}

// BenchmarkHottestRequests measures what is asked the most, beside a bare
// handler in the same run.
func BenchmarkHottestRequests(b *testing.B) {
	k, x := benchTenant(b)
	team, token := k.URL+"/api/acme", x.Token()
	targets := []target{
		{name: "get_project", method: http.MethodGet, url: team + "/projects/" + x.rows["{projectId}"]},
		{name: "get_deployment", method: http.MethodGet, url: team + "/deployments/" + x.rows["{deploymentId}"]},
		{name: "list_deployments", method: http.MethodGet, url: team + "/deployments"},
		{name: "list_nodes", method: http.MethodGet, url: team + "/nodes"},
		{name: "list_containers", method: http.MethodGet, url: team + "/nodes/" + x.rows["{nodeId}"] + "/containers"},
		{name: "start", method: http.MethodPost, url: team + "/deployments/" + x.rows["{deploymentId}"] + "/start"},
	}
	nothing := answerNothing(b)
	own := nothing.allocations(b, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchClients}})
	bare := bareHandler(b, k.DSN, x.rows["{projectId}"])
	for b.Loop() {
		for _, t := range targets {
			t.token = token
			floor := bare.bear(b, benchFor/2)
			got := t.bear(b, benchFor)
			again := bare.bear(b, benchFor/2)
			figure("api_"+t.name, got.perSecond, "requests/s", (floor.perSecond+again.perSecond)/2)
			figure("api_"+t.name+"_p99", got.p99, "ms", (floor.p99+again.p99)/2)
			figure("api_"+t.name+"_allocs", got.allocs-own, "allocs", floor.allocs-own)
		}
	}
}
