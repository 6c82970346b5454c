package app

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promcollectors "github.com/prometheus/client_golang/prometheus/collectors"

	"fairlead.dev/controller/internal/agentrpc"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/dashboard"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/rest"
	"fairlead.dev/controller/internal/rest/invitation"
	"fairlead.dev/controller/internal/rest/setup"
	"fairlead.dev/controller/internal/rest/teamapi"
	"fairlead.dev/shared/buildinfo"
)

// Rates of tries per address: enough for a person or an office behind one
// address, too few to guess with.
const (
	loginBurst, loginEvery = 20, 3 * time.Second
	// Per person.
	tokensBurst, tokensEvery = 30, 10 * time.Second
	// Nodes that are installed together may share an address.
	scriptBurst, scriptEvery = 200, 100 * time.Millisecond
	// The runners of a whole organization may share an address.
	exchangeBurst, exchangeEvery = 100, time.Second
)

func newREST(a *App, s *services, vault *keys.Vault, metrics *prometheus.Registry) (*rest.Server, error) {
	engine := rest.NewEngine(rest.EngineConfig{
		Log: a.log, Metrics: metrics, KeepRequestID: teamapi.WithRequestID, CountStatements: postgres.CountStatements,
		Checks: []rest.Check{
			{Name: "stopping", Ready: a.staying},
			{Name: "database", Ready: func(context.Context) error { return a.vigil.Present() }},
			{Name: "schema", Ready: a.schemaReady},
		},
		Draining: a.draining.Load,
	})
	rest.MountArtifacts(engine, s.library)
	// The API and the pages count tries together.
	logins := rest.NewLimiter(loginBurst, loginEvery, now).Allow
	if err := setup.Mount(engine, setup.Config{Users: s.users, Log: a.log, Allowed: logins}); err != nil {
		return nil, err
	}
	err := invitation.Mount(engine, invitation.Config{Users: s.users, Teams: s.teams, Log: a.log, Allowed: logins})
	if err != nil {
		return nil, err
	}
	teamapi.Mount(engine, teamapi.Deps{
		Log: a.log, Now: now,
		Users: s.users, Tokens: s.tokens, Teams: s.teams, Nodes: s.nodes, Updates: s.updates, Commands: s.commands,
		Facts: report.NewFacts(s.db), Deployments: s.deployments, DeployTokens: s.deployTokens, Registries: s.registries, Storages: s.storages,
		Projects: s.projects, Versions: s.versions, Images: s.images, Templates: s.templates, Compose: s.compose, OIDCTrusts: s.oidcTrusts,
		Idempotency: s.idempotency, Access: a.access,
		Health: a.database, SignScript: s.signScript, SignScriptFor: s.library.SignScript,
		Notifications: s.notifications, Streams: s.streams.service,
		Audit: audit.NewReader(s.db), Dashboard: dashboard.New(s.db),
		PublicURL:       strings.TrimSuffix(a.config.PublicURL, "/"),
		Secure:          strings.HasPrefix(a.config.PublicURL, "https://"),
		LoginAllowed:    logins,
		TokensAllowed:   rest.NewLimiter(tokensBurst, tokensEvery, now).Allow,
		ScriptAllowed:   rest.NewLimiter(scriptBurst, scriptEvery, now).Allow,
		ExchangeAllowed: rest.NewLimiter(exchangeBurst, exchangeEvery, now).Allow,
	})
	listener := a.http
	secure, err := a.httpTLS(vault)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		listener = tls.NewListener(a.http, secure)
	}
	return rest.New(rest.Config{Listener: listener, Handler: engine, Log: a.log, StopTimeout: a.config.StopTimeout}), nil
}

func newAgents(a *App, s *services, k *keys.Keys, metrics *prometheus.Registry) *agentrpc.Server {
	connected := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairlead_agents_connected", Help: "Open agent sessions of this process.",
	})
	metrics.MustRegister(connected)
	return agentrpc.New(agentrpc.Config{
		Listener: a.grpc, Authority: k.Roots, Trusted: s.db.RecordTrust, Agents: s.agents, Commands: s.commands, Dispatcher: s.dispatcher,
		Recorder: s.recorder, Reserve: postgres.Reserved,
		Log: a.log, Now: now, StopTimeout: a.config.StopTimeout,
		Sessions: func(open int) { connected.Set(float64(open)) },
		Broker:   s.streams.broker, Streams: s.streams.service, Library: s.library, Updates: s.updates,
		Accepts:  a.accepts,
		Register: newRelay(a, s).Register, Remote: s.streams.peers,
	})
}

func collectors() []prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairlead_build_info", Help: "Which build runs; always 1.",
		ConstLabels: prometheus.Labels{"version": buildinfo.Version(), "commit": buildinfo.Commit()},
	})
	info.Set(1)
	return []prometheus.Collector{
		info, promcollectors.NewGoCollector(), promcollectors.NewProcessCollector(promcollectors.ProcessCollectorOpts{}),
	}
}
