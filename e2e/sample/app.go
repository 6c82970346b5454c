package main

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed page.html
var pageSource string

// app is the running application.
type app struct {
	config  config
	now     func() time.Time
	started time.Time
	log     *slog.Logger
	page    *template.Template
	ill     atomic.Bool
	// exit receives the code a client wants the process to end with.
	exit chan int
}

// info is what the application says about itself.
type info struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Hostname string    `json:"hostname"`
	Greeting string    `json:"greeting"`
	Healthy  bool      `json:"healthy"`
	Started  time.Time `json:"started"`
	// EnvKeys are the names of the environment variables, sorted; their values
	// may be secrets and stay inside.
	EnvKeys []string `json:"envKeys"`
}

func newApp(config config, now func() time.Time, log *slog.Logger) *app {
	a := &app{
		config:  config,
		now:     now,
		started: now(),
		log:     log,
		page:    template.Must(template.New("page").Parse(pageSource)),
		exit:    make(chan int, 1),
	}
	a.ill.Store(config.unhealthy)
	return a
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.showPage)
	mux.HandleFunc("GET /info", a.showInfo)
	mux.HandleFunc("GET /healthz", a.showHealth)
	// The control endpoints take any method so that a browser can use them.
	mux.HandleFunc("/control/unhealthy", a.setIll(true))
	mux.HandleFunc("/control/healthy", a.setIll(false))
	mux.HandleFunc("/control/exit", a.endWithCode)
	mux.HandleFunc("/control/log", a.writeLog)
	mux.HandleFunc("/control/write", a.writeData)
	mux.HandleFunc("/control/read", a.readData)
	return mux
}

func (a *app) healthy() bool {
	return !a.ill.Load() && a.now().Sub(a.started) >= a.config.readyAfter
}

func (a *app) info() info {
	var keys []string
	for _, pair := range os.Environ() {
		key, _, _ := strings.Cut(pair, "=")
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return info{
		Name:     "sample",
		Version:  a.config.version,
		Hostname: a.config.hostname,
		Greeting: a.config.greeting,
		Healthy:  a.healthy(),
		Started:  a.started.UTC(),
		EnvKeys:  keys,
	}
}

func (a *app) showPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := a.page.Execute(w, a.info()); err != nil {
		a.log.Warn("page cut short", "error", err)
	}
}

func (a *app) showInfo(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a.info()); err != nil {
		a.log.Warn("answer cut short", "error", err)
	}
}

func (a *app) showHealth(w http.ResponseWriter, _ *http.Request) {
	if !a.healthy() {
		http.Error(w, "unhealthy", http.StatusServiceUnavailable)
		return
	}
	say(w, "ok")
}
