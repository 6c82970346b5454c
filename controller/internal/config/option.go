package config

import (
	"strings"
	"time"
)

// option is one setting: its name as a flag and file key, its environment
// variable, and where its value goes.
type option struct {
	// name in kebab case, e.g. "http-addr".
	name string
	// env defaults to FAIRLEAD_ and the name in upper snake case.
	env      string
	fallback string
	usage    string
	// secret settings can also be given as a file's path: <name>-file,
	// <ENV>_FILE. Their values never appear in messages.
	secret bool
	set    func(c *Config, value string) error
}

func (o option) variable() string {
	if o.env != "" {
		return o.env
	}
	return "FAIRLEAD_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// options is the table of all settings; flags, environment, file and the
// manual come from it.
func options() []option {
	return []option{
		{name: "http-addr", fallback: ":8080", usage: "address the REST API, docs and health listen on",
			set: address(func(c *Config) *string { return &c.HTTPAddr })},
		{name: "agent-addr", fallback: ":8443", usage: "address agents connect to: gRPC over TLS, always",
			set: address(func(c *Config) *string { return &c.AgentAddr })},
		{name: "http-tls", fallback: "off", usage: "off (behind a proxy, or on one machine), files or acme",
			set: oneOf(func(c *Config) *string { return &c.HTTPTLS }, "off", "files", "acme")},
		{name: "http-tls-cert", usage: "certificate file (PEM) for http-tls=files, read again when it changes",
			set: text(func(c *Config) *string { return &c.HTTPTLSCert })},
		{name: "http-tls-key", usage: "key file (PEM) for http-tls=files",
			set: text(func(c *Config) *string { return &c.HTTPTLSKey })},
		{name: "code-signing-cert", usage: "certificate file (PEM, with its chain) that signs PowerShell scripts; default: one of the controller's own root",
			set: text(func(c *Config) *string { return &c.CodeSigningCert })},
		{name: "code-signing-key", usage: "key file (PEM) for code-signing-cert",
			set: text(func(c *Config) *string { return &c.CodeSigningKey })},
		{name: "acme-email", usage: "where the ACME authority may write about certificates of http-tls=acme",
			set: text(func(c *Config) *string { return &c.ACMEEmail })},
		{name: "acme-directory", usage: "directory URL of the ACME authority; default: Let's Encrypt",
			set: text(func(c *Config) *string { return &c.ACMEDirectory })},
		{name: "acme-roots", usage: "PEM file with the roots by which a private ACME authority is trusted",
			set: text(func(c *Config) *string { return &c.ACMERoots })},
		{name: "public-url", fallback: "http://localhost:8080", usage: "what users and scripts are told to call",
			set: publicURL},
		{name: "agent-public-addr", usage: "what agents dial; default: host of the public URL and the agent port",
			set: address(func(c *Config) *string { return &c.AgentPublicAddr })},
		{name: "readmit-within", fallback: "720h", usage: "how long an agent may have been away to be sent what its node should run as soon as it is back; one that comes later is in quarantine",
			set: duration(func(c *Config) *time.Duration { return &c.ReadmitWithin })},
		{name: "database-url", env: "DATABASE_URL", secret: true, usage: "PostgreSQL to use; unset: the controller runs its own",
			set: secret(func(c *Config) *Secret { return &c.DatabaseURL })},
		{name: "state-dir", fallback: "/var/lib/fairlead", usage: "keys, built-in database, artifacts",
			set: folder(func(c *Config) *string { return &c.StateDir })},
		{name: "keys-dir", usage: "folder with the controller's keys, the same for all replicas; default: keys in the state dir",
			set: text(func(c *Config) *string { return &c.KeysDir })},
		{name: "replica-name", usage: "what this controller is called among those on one database; default: its replica-addr",
			set: text(func(c *Config) *string { return &c.ReplicaName })},
		{name: "replica-addr", usage: "where the other controllers reach this one's agent listener; default: host name and agent port",
			set: address(func(c *Config) *string { return &c.ReplicaAddr })},
		{name: "artifact-dir", usage: "folder with the agents' image archives; default: artifacts beside the program",
			set: text(func(c *Config) *string { return &c.ArtifactDir })},
		{name: "admin-email", usage: "e-mail address of the first user",
			set: text(func(c *Config) *string { return &c.AdminEmail })},
		{name: "admin-password", secret: true, usage: "password of the first user",
			set: secret(func(c *Config) *Secret { return &c.AdminPassword })},
		{name: "registration", fallback: "open", usage: "who may register after the first user: open or closed",
			set: oneOf(func(c *Config) *string { return &c.Registration }, "open", "closed")},
		{name: "smtp-addr", usage: "mail server that sends invitations, host:port; unset: the inviter gets the link",
			set: address(func(c *Config) *string { return &c.SMTPAddr })},
		{name: "smtp-tls", fallback: "starttls", usage: "starttls, tls (from the first byte) or off",
			set: oneOf(func(c *Config) *string { return &c.SMTPTLS }, "starttls", "tls", "off")},
		{name: "smtp-from", usage: "who e-mails come from, such as Fairlead <fairlead@example.com>",
			set: text(func(c *Config) *string { return &c.SMTPFrom })},
		{name: "smtp-username", usage: "user at the mail server",
			set: text(func(c *Config) *string { return &c.SMTPUsername })},
		{name: "smtp-password", secret: true, usage: "password at the mail server",
			set: secret(func(c *Config) *Secret { return &c.SMTPPassword })},
		{name: "smtp-roots", usage: "PEM file with roots to trust for the mail server, beside the system's",
			set: text(func(c *Config) *string { return &c.SMTPRoots })},
		{name: "webhook-allow-private", fallback: "false", usage: "whether notifications may be sent to loopback and private addresses: true or false",
			set: oneOf(func(c *Config) *string { return &c.WebhookAllowPrivate }, "true", "false")},
		{name: "registry-check", fallback: "on", usage: "whether registries are asked when they are saved: on (those at public addresses), private (all) or off",
			set: oneOf(func(c *Config) *string { return &c.RegistryCheck }, "on", "private", "off")},
		{name: "drain", fallback: "5s", usage: "how long the controller goes on after it was asked to stop, not ready any more, for load balancers to notice",
			set: durationOrZero(func(c *Config) *time.Duration { return &c.Drain })},
		{name: "stop-timeout", fallback: "20s", usage: "how long a graceful stop may take",
			set: duration(func(c *Config) *time.Duration { return &c.StopTimeout })},
		{name: "debug-addr", usage: "loopback address for profiles and memory figures; default: none",
			set: loopback(func(c *Config) *string { return &c.DebugAddr })},
		{name: "log-level", fallback: "info", usage: "debug, info, warn or error",
			set: oneOf(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
		{name: "log-format", fallback: "text", usage: "text or json",
			set: oneOf(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
	}
}
