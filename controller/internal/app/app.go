// Package app builds every part of the controller, runs them and stops them in
// order. It is the only place that knows all concrete types, and holds neither
// a rule nor a query.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/controller/internal/access"
	"fairlead.dev/controller/internal/agentrpc"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/courier"
	"fairlead.dev/controller/internal/dispatch"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/replica"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/rest"
	"fairlead.dev/controller/internal/rest/setup"
	"fairlead.dev/controller/internal/update"
	"fairlead.dev/controller/internal/wake"
	"fairlead.dev/shared/debugserver"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/memory"
	"fairlead.dev/shared/taskgroup"
)

// App is a controller that is ready to run: its database is open and
// migrated, its listeners are bound.
type App struct {
	config   config.Config
	log      *slog.Logger
	database *database
	bus      *wake.Bus
	access   *access.Cache
	courier  *notification.Courier
	// mails is nil where no e-mails are sent.
	mails   *courier.Courier[mail.Stored]
	roots   *keys.Roots
	keys    *keys.Keys
	streams streams
	// vigil watches over the database, by probe.
	vigil    *replica.Vigil
	probe    *postgres.Probe
	draining atomic.Bool
	rest     *rest.Server
	agents   *agentrpc.Server
	// dispatcher owns the agents' sessions; resign takes this controller out
	// of the list of replicas once it is registered.
	dispatcher *dispatch.Dispatcher
	// recorder writes what agents report.
	recorder *report.Recorder
	updates  *update.Service
	resign   func(ctx context.Context) error
	http     net.Listener
	grpc     net.Listener
	// debug is nil when no profiles are asked for.
	debug net.Listener
}

// New builds the controller. When it fails, nothing is left running.
func New(ctx context.Context, c config.Config, log *slog.Logger) (a *App, err error) {
	a = &App{config: c, log: log, bus: wake.New(), access: access.New(now)}
	defer func() {
		if err != nil {
			a.close(context.WithoutCancel(ctx))
		}
	}()
	k, err := keys.Open(c.KeysDir)
	if err != nil {
		return a, err
	}
	// An address that is taken is found out before anything is made.
	if a.http, err = listen(ctx, c.HTTPAddr, "HTTP", "FAIRLEAD_HTTP_ADDR"); err != nil {
		return a, err
	}
	if a.grpc, err = listen(ctx, c.AgentAddr, "agent", "FAIRLEAD_AGENT_ADDR"); err != nil {
		return a, err
	}
	if c.DebugAddr != "" {
		if a.debug, err = debugserver.Listen(ctx, c.DebugAddr); err != nil {
			return a, fmt.Errorf("listen for profiles (FAIRLEAD_DEBUG_ADDR): %w", err)
		}
	}
	metrics := newMetrics()
	if a.database, err = openDatabase(ctx, c, log); err != nil {
		return a, err
	}
	if err := claimKeys(ctx, a.database.db, k, c.KeysDir); err != nil {
		return a, err
	}
	setupToken := rand.Text()
	me := newSelf(c)
	services, err := newServices(c, me, a.database.db, k, a.bus, log, setupToken)
	if err != nil {
		return a, err
	}
	a.streams = services.streams
	a.vigil, a.probe = newVigil(a, services, me)
	services.dispatcher.Answered = a.vigil.Answered
	if err := a.prepare(ctx, services, setupToken); err != nil {
		return a, err
	}
	if a.rest, err = newREST(a, services, k.Vault, metrics); err != nil {
		return a, err
	}
	a.roots, a.keys = k.Roots, k
	a.courier, a.mails = services.courier, services.mails
	a.dispatcher, a.resign = services.dispatcher, services.agents.Resign
	a.recorder, a.updates = services.recorder, services.updates
	a.agents = newAgents(a, services, k, metrics)
	return a, nil
}

// HTTPAddr returns the address the HTTP listener is bound to.
func (a *App) HTTPAddr() net.Addr { return a.http.Addr() }

// AgentAddr returns the address the agent listener is bound to.
func (a *App) AgentAddr() net.Addr { return a.grpc.Addr() }

// Run serves until ctx ends or a part fails. When ctx ends it drains first: it
// says that it is not ready and goes on for those who do not know yet. Then it
// stops every part: new requests and sessions first, what is under way within
// the stop timeout, the database last.
func (a *App) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	a.log.Info("controller is serving", "http", a.HTTPAddr().String(), "agents", a.AgentAddr().String(), "public_url", a.config.PublicURL)
	err := taskgroup.Run(serving,
		taskgroup.Task{Name: "drain", Run: func(group context.Context) error {
			a.untilDrained(ctx, group)
			stop()
			<-group.Done()
			return nil
		}},
		taskgroup.Task{Name: "vigil", Run: a.vigil.Run},
		taskgroup.Task{Name: "rest", Run: a.rest.Run},
		taskgroup.Task{Name: "agentrpc", Run: a.agents.Run},
		taskgroup.Task{Name: "dispatch", Run: func(ctx context.Context) error { return a.dispatcher.Run(postgres.Reserved(ctx)) }},
		taskgroup.Task{Name: "reports", Run: func(ctx context.Context) error { return a.recorder.Run(postgres.Reserved(ctx)) }},
		taskgroup.Task{Name: "rollouts", Run: func(ctx context.Context) error {
			return a.updates.Run(ctx, func(err error) { a.log.Error("rollouts", logging.KeyError, err) })
		}},
		taskgroup.Task{Name: "notifications", Run: a.courier.Run},
		taskgroup.Task{Name: "mails", Run: a.sendMails},
		taskgroup.Task{Name: "notices", Run: a.listenForNotices},
		taskgroup.Task{Name: "claims", Run: func(ctx context.Context) error { return claimRoots(ctx, a.database.db, a.keys, a.log) }},
		taskgroup.Task{Name: "roots", Run: func(ctx context.Context) error { return a.roots.Run(ctx, a.log) }},
		taskgroup.Task{Name: "database", Run: a.database.watch},
		taskgroup.Task{Name: "memory", Run: memory.New(memory.Options{Period: 5 * time.Second, Calm: 0.02, Busy: 0.125, Worth: 16 << 20}).Run},
		taskgroup.Task{Name: "profiles", Run: a.serveProfiles},
	)
	a.log.Info("controller is stopping")
	a.close(context.WithoutCancel(ctx))
	a.log.Info("controller has stopped")
	return err
}

func (a *App) serveProfiles(ctx context.Context) error {
	if a.debug == nil {
		<-ctx.Done()
		return nil
	}
	return debugserver.Run(ctx, a.debug)
}

func (a *App) sendMails(ctx context.Context) error {
	if a.mails == nil {
		<-ctx.Done()
		return nil
	}
	return a.mails.Run(ctx)
}

func (a *App) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.config.StopTimeout)
	defer cancel()
	for _, l := range []net.Listener{a.http, a.grpc, a.debug} {
		if l != nil {
			_ = l.Close() // closed already when its server ran
		}
	}
	if a.database == nil {
		return
	}
	if a.resign != nil {
		if err := a.resign(ctx); err != nil {
			a.log.Warn("could not take this controller out of the list; its lease runs out by itself", logging.KeyError, err)
		}
	}
	if a.probe != nil {
		_ = a.probe.Close(ctx) // it only asked
	}
	if a.streams.peers != nil {
		_ = a.streams.peers.Close() // what was on it has ended
	}
	if err := a.database.close(ctx); err != nil {
		a.log.Error("could not close the database", logging.KeyError, err)
	}
}

// prepare does what must be done once before serving.
func (a *App) prepare(ctx context.Context, s *services, setupToken string) error {
	// Sessions of an earlier process of this controller are over.
	if err := s.agents.Register(ctx); err != nil {
		return err
	}
	if a.config.AdminEmail != "" {
		made, err := s.users.EnsureAdministrator(ctx, a.config.AdminEmail, a.config.AdminPassword.Reveal())
		if err != nil {
			return fmt.Errorf("make the first user from FAIRLEAD_ADMIN_EMAIL and FAIRLEAD_ADMIN_PASSWORD: %w", err)
		}
		if made {
			a.log.Info("made the first user", "email", a.config.AdminEmail)
		}
	}
	needed, err := s.users.NeedsSetup(ctx)
	if err == nil && needed {
		// Meant for the person who starts the controller: the one secret that
		// a log line carries. It ends with this process or its first use.
		a.log.Warn("there is no user yet: open this link to make the administrator's account",
			"link", a.config.PublicURL+setup.Path+"#"+setupToken)
	}
	return err
}

// listenForNotices turns the database's notices into hints.
func (a *App) listenForNotices(ctx context.Context) error {
	return a.database.db.Listen(ctx, a.log, map[string]func(string){
		postgres.ChannelNode:       func(id string) { a.bus.Publish(wake.Node(id)) },
		postgres.ChannelAgent:      func(id string) { a.bus.Publish(wake.Agent(id)) },
		postgres.ChannelCommand:    func(id string) { a.bus.Publish(wake.Command(id)) },
		postgres.ChannelDeployment: func(id string) { a.bus.Publish(wake.Deployment(id)) },
		postgres.ChannelDelivery:   func(string) { a.bus.Publish(wake.Deliveries()) },
		postgres.ChannelMail:       func(string) { a.bus.Publish(wake.Mails()) },
		postgres.ChannelAccess:     func(string) { a.access.Forget() },
		postgres.ChannelRollout:    func(string) { a.bus.Publish(wake.Rollouts()) },
	}, func() {
		a.access.Forget()
		a.bus.PublishAll()
	})
}

func listen(ctx context.Context, address, what, setting string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on the %s address (%s): %w", what, setting, err)
	}
	return l, nil
}

// now is the controller's clock: PostgreSQL keeps microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors()...)
	return r
}

var errStopped = errors.New("the built-in database stopped")
