package app

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/agentrpc"
	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/compose"
	"fairlead.dev/controller/internal/composefile"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/courier"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/controller/internal/dispatch"
	"fairlead.dev/controller/internal/idempotency"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/controller/internal/misuse"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/oidc"
	"fairlead.dev/controller/internal/oidctrust"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/registrycheck"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/smtp"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/template"
	"fairlead.dev/controller/internal/templatefile"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/update"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/controller/internal/wake"
	"fairlead.dev/controller/internal/webhook"
	"fairlead.dev/shared/buildinfo"
)

// installLifetime is how long an install script can be used.
const installLifetime = 10 * time.Minute

// services are the domain's services over one database.
type services struct {
	db            *postgres.DB
	users         *user.Service
	tokens        *token.Service
	deployTokens  *deploytoken.Service
	teams         *team.Service
	nodes         *node.Service
	agents        *agent.Service
	commands      *command.Service
	updates       *update.Service
	deployments   *deployment.Service
	registries    *registry.Service
	storages      *storage.Service
	projects      *project.Service
	versions      *version.Service
	images        *image.Service
	templates     *template.Service
	compose       *compose.Service
	oidcTrusts    *oidctrust.Service
	idempotency   *idempotency.Service
	notifications *notification.Service
	courier       *notification.Courier
	mails         *courier.Courier[mail.Stored]
	dispatcher    *dispatch.Dispatcher
	recorder      *report.Recorder
	library       *artifact.Library
	streams       streams
	signScript    func([]byte) string
}

func newServices(c config.Config, me self, db *postgres.DB, k *keys.Keys, bus *wake.Bus, log *slog.Logger, setupToken string) (*services, error) {
	library, err := artifact.Open(artifactDir(c), buildinfo.Version(), "fairlead/dagent:"+buildinfo.Version(), k.Release, k.ReleaseChain)
	if err != nil {
		return nil, err
	}
	if len(library.Artifacts)+len(library.Crane) == 0 {
		log.Warn("no agent archives found: nodes can't be installed from this controller", "folder", artifactDir(c))
	}
	s := &services{db: db, library: library, signScript: func(script []byte) string {
		return base64.StdEncoding.EncodeToString(ed25519.Sign(k.Release, script))
	}}
	auditLog := audit.New(db, now)
	sender := webhook.New(strings.TrimSuffix(c.PublicURL, "/"), c.WebhookAllowPrivate == "true")
	outbox := notification.NewOutbox(db, now)
	s.notifications = notification.New(db, sender, k.Vault, auditLog, now)
	s.courier = notification.NewCourier(db, sender, k.Vault, bus.Subscribe(wake.Deliveries()).C, log, now)
	issuer := token.NewIssuer(db, k.Token, c.PublicURL, now)
	s.users = user.New(user.Config{
		Store: db, Tokens: db, Issuer: issuer, Hasher: user.NewArgon2(max(2, runtime.NumCPU())), Audit: auditLog, Now: now,
		SetupToken: setupToken, OpenRegistration: c.Registration == "open",
	})
	s.tokens = token.NewService(db, issuer, auditLog)
	s.deployTokens = deploytoken.New(db, issuer, auditLog, now)
	allowPrivate := c.WebhookAllowPrivate == "true"
	s.oidcTrusts = oidctrust.New(oidctrust.Config{
		Store: db, Verifier: oidc.New(allowPrivate, now), Tokens: s.deployTokens, Audit: auditLog, Now: now,
		PublicURL: strings.TrimSuffix(c.PublicURL, "/"), AllowHTTP: allowPrivate,
	})
	s.registries = registry.New(db, k.Vault, auditLog, now)
	var digest func(context.Context, uuid.UUID, string) (string, error)
	if c.RegistryCheck != "off" {
		checker := registrycheck.New(c.RegistryCheck == "private")
		s.registries.WithChecker(checker).WithBrowser(checker)
		digest = digestOf(s.registries, checker)
	}
	s.idempotency = idempotency.New(db, k.Vault, now)
	s.storages = storage.New(db, k.Vault, auditLog, now)
	mails, err := s.newMails(c, k, bus, log)
	if err != nil {
		return nil, err
	}
	s.teams = team.New(team.Config{
		Store: db, Audit: auditLog, Now: now, Setups: []team.Setup{s.registries}, Outbox: outbox,
		Mails: mails, PublicURL: strings.TrimSuffix(c.PublicURL, "/"),
	})
	s.nodes = node.New(node.Config{
		Store: db, Audit: auditLog, Outbox: outbox, Sealer: k.Vault, Now: now, TokenLifetime: installLifetime,
		Renderer: artifact.Scripts{
			Library: library, PublicURL: c.PublicURL, AgentAddr: c.AgentPublicAddr,
			RootPin: k.Roots.Pin, ReleaseKey: k.Release.Public().(ed25519.PublicKey), CodeSigner: codeSigner(c, k),
		},
	})
	misused := misuse.New(db, auditLog, now)
	s.commands = command.New(command.Config{
		Store: db, Waiter: waiter{bus}, Audit: auditLog, Misuse: misused, Now: now,
		Answered: func(ctx context.Context, nodeID uuid.UUID, r command.Result) error {
			return s.updates.Answered(ctx, nodeID, r)
		},
	})
	s.updates = update.New(update.Config{
		Store: db, Commands: s.commands, Library: library, Audit: auditLog, Hints: bus.Subscribe(wake.Rollouts()).C, Now: now,
	})
	s.deployments = deployment.New(deployment.Config{
		Store: db, Audit: auditLog, Outbox: outbox, Misuse: misused, Logger: log, Now: now, Watch: watch(bus), Sealer: sealer{},
		Reference: s.registries.PullReference, Credentials: s.registries.Credentials, StorageURL: s.storages.URL, StorageKeys: s.storages.Keys, Liveness: liveness(db),
		Removal: agentrpc.RemovalOf, Digest: digest, Planner: s.commands.PlanFor,
	})
	s.projects = project.New(db, auditLog, now)
	s.versions = version.New(db, auditLog, liveness(db), now).WithOutbox(outbox)
	s.images = image.New(db, auditLog, now)
	builtIn, err := templatefile.BuiltIn()
	if err != nil {
		return nil, err
	}
	s.templates = template.New(template.Config{
		Library: builtIn, Store: db, Teams: s.teams, Registries: s.registries, Projects: s.projects, Versions: s.versions, Images: s.images,
	})
	s.compose = compose.New(compose.Config{
		Reader: composefile.Reader{}, Store: db, Audit: auditLog, Registries: s.registries, Projects: s.projects, Versions: s.versions, Images: s.images,
	})
	s.agents = agent.New(agent.Config{
		Store: db, Authority: k.Roots, Audit: auditLog, Now: now,
		Replica:       agent.Replica{ID: me.ID, Name: me.Name, Address: me.Address, StartedAt: now()},
		ReadmitWithin: c.ReadmitWithin,
	})
	s.streams = newStreams(me, db, k, auditLog, log)
	s.recorder = report.New(report.Config{Store: db, Progress: s.deployments, Log: log, Now: now})
	s.dispatcher = dispatch.New(dispatch.Config{
		Bus: bus, Agents: s.agents, Deployments: s.deployments, Commands: s.commands, Log: log, Now: now,
	})
	return s, nil
}

// newMails returns the outbox of e-mails, nil where none are sent, and makes
// what sends them.
func (s *services) newMails(c config.Config, k *keys.Keys, bus *wake.Bus, log *slog.Logger) (*mail.Outbox, error) {
	if c.SMTPAddr == "" {
		return nil, nil
	}
	sender, err := smtp.New(smtp.Config{
		Address: c.SMTPAddr, Security: c.SMTPTLS, From: c.SMTPFrom,
		Username: c.SMTPUsername, Password: c.SMTPPassword.Reveal(), RootsFile: c.SMTPRoots,
	})
	if err != nil {
		return nil, fmt.Errorf("settings FAIRLEAD_SMTP_*: %w", err)
	}
	outbox := mail.NewOutbox(s.db, k.Vault, now)
	s.mails = mail.NewCourier(outbox, sender, bus.Subscribe(wake.Mails()).C, log)
	return outbox, nil
}

// artifactDir is the configured folder, or the one beside the program.
func artifactDir(c config.Config) string {
	if c.ArtifactDir != "" {
		return c.ArtifactDir
	}
	program, err := os.Executable()
	if err != nil {
		return "artifacts"
	}
	return filepath.Join(filepath.Dir(program), "artifacts")
}

// waiter lets commands wait for hints from the bus.
type waiter struct{ bus *wake.Bus }

func (w waiter) Wait(commandID uuid.UUID) (<-chan struct{}, func()) {
	s := w.bus.Subscribe(wake.Command(commandID.String()))
	return s.C, s.Close
}

// watch lets who waits for a deployment hear of its changes.
func watch(bus *wake.Bus) func(deploymentID uuid.UUID) (<-chan struct{}, func()) {
	return func(id uuid.UUID) (<-chan struct{}, func()) {
		s := bus.Subscribe(wake.Deployment(id.String()))
		return s.C, s.Close
	}
}

// liveness turns what is known of nodes' agents into deployments' words.
func liveness(db *postgres.DB) func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error) {
	return func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error) {
		agents, err := db.ListNodeAgents(ctx, ids)
		if err != nil {
			return nil, err
		}
		at := now()
		info := make(map[uuid.UUID]deployment.LivenessInfo, len(agents))
		for id, a := range agents {
			_, since := a.Liveness(at)
			info[id] = deployment.LivenessInfo{Status: a.Status(at), Since: since}
		}
		return info, nil
	}
}

// digestOf returns what asks registries for the digests of their images, with
// the credentials that nodes get.
func digestOf(registries *registry.Service, checker *registrycheck.Checker) func(context.Context, uuid.UUID, string) (string, error) {
	return func(ctx context.Context, id uuid.UUID, reference string) (string, error) {
		var login registry.Login
		auth, err := registries.Credentials(ctx, id)
		if err != nil {
			return "", err
		}
		if auth != nil {
			login = registry.Login{Username: auth.Username, Password: auth.Password}
		}
		return checker.Digest(ctx, reference, login)
	}
}
