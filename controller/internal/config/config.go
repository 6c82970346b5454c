// Package config reads the controller's settings once, at start: flag over
// environment over file over default, every problem reported at once, unknown
// names refused.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"fairlead.dev/shared/logging"
)

// Secret is text that is not shown.
type Secret = logging.Secret

// testPrefix is for the project's own tests; such variables are not settings.
const testPrefix = "FAIRLEAD_TEST_"

// Config is every setting of the controller, checked. The field comments are
// in the table in option.go.
type Config struct {
	HTTPAddr    string
	AgentAddr   string
	HTTPTLS     string
	HTTPTLSCert string
	HTTPTLSKey  string
	// CodeSigningCert and CodeSigningKey are empty for a certificate of the
	// controller's own root.
	CodeSigningCert string
	CodeSigningKey  string
	// ACMEDirectory is empty for Let's Encrypt, ACMEEmail and ACMERoots for
	// none.
	ACMEEmail       string
	ACMEDirectory   string
	ACMERoots       string
	PublicURL       string
	AgentPublicAddr string
	ReadmitWithin   time.Duration
	DatabaseURL     Secret
	StateDir        string
	KeysDir         string
	ReplicaName     string
	ReplicaAddr     string
	ArtifactDir     string
	AdminEmail      string
	AdminPassword   Secret
	Registration    string
	// SMTPAddr is empty where no e-mails are sent.
	SMTPAddr     string
	SMTPTLS      string
	SMTPFrom     string
	SMTPUsername string
	SMTPPassword Secret
	SMTPRoots    string
	// WebhookAllowPrivate is "true" or "false".
	WebhookAllowPrivate string
	// RegistryCheck is "on", "private" or "off".
	RegistryCheck string
	Drain         time.Duration
	StopTimeout   time.Duration
	// DebugAddr is empty for no profiles.
	DebugAddr string
	LogLevel  string
	LogFormat string
}

// Load reads the settings from the arguments after the sub-command, the
// environment ("NAME=value" each) and the file that --config or
// FAIRLEAD_CONFIG names. It returns pflag.ErrHelp for --help, and otherwise
// everything that is wrong, joined.
func Load(args, environ []string) (Config, error) {
	env := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	flags, given := flagSet()
	if err := flags.Parse(args); err != nil {
		return Config{}, err
	}
	if flags.NArg() > 0 {
		return Config{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var problems []error
	path := *given["config"]
	if path == "" {
		path = env["FAIRLEAD_CONFIG"]
	}
	file, err := readFile(path)
	if err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, unknown(env, file)...)

	var c Config
	for _, o := range options() {
		value, source, err := lookUp(o, flags, given, env, file)
		if err == nil {
			err = o.set(&c, value)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", source, err))
		}
	}
	if len(problems) == 0 {
		problems = append(problems, c.complete()...)
	}
	return c, errors.Join(problems...)
}

// Usage describes every setting, for --help.
func Usage() string {
	flags, _ := flagSet()
	return flags.FlagUsages()
}

func flagSet() (*pflag.FlagSet, map[string]*string) {
	flags := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	flags.SetOutput(nil)
	flags.SortFlags = false
	flags.Usage = func() {}
	given := map[string]*string{"config": flags.String("config", "", "file with settings (YAML, names as the flags) [FAIRLEAD_CONFIG]")}
	for _, o := range options() {
		given[o.name] = flags.String(o.name, o.fallback, fmt.Sprintf("%s [%s]", o.usage, o.variable()))
		if o.secret {
			given[o.name+"-file"] = flags.String(o.name+"-file", "", fmt.Sprintf("file that holds %s [%s_FILE]", o.name, o.variable()))
		}
	}
	return flags, given
}

// lookUp finds an option's value and says where it came from.
func lookUp(o option, flags *pflag.FlagSet, given map[string]*string, env, file map[string]string) (value, source string, err error) {
	layers := []struct {
		name, fileName string
		get            func(name string) (string, bool)
	}{
		{"--" + o.name, "--" + o.name + "-file", func(name string) (string, bool) {
			name = strings.TrimPrefix(name, "--")
			return *orEmpty(given[name]), flags.Changed(name)
		}},
		{o.variable(), o.variable() + "_FILE", func(name string) (string, bool) { v, ok := env[name]; return v, ok }},
		{o.name, o.name + "-file", func(name string) (string, bool) { v, ok := file[name]; return v, ok }},
	}
	for _, layer := range layers {
		value, direct := layer.get(layer.name)
		path, byFile := "", false
		if o.secret {
			path, byFile = layer.get(layer.fileName)
		}
		switch {
		case direct && byFile:
			return "", layer.name, fmt.Errorf("both %s and %s are given", layer.name, layer.fileName)
		case byFile:
			content, err := os.ReadFile(path)
			return strings.TrimRight(string(content), "\r\n"), layer.fileName, err
		case direct:
			return value, layer.name, nil
		}
	}
	return o.fallback, o.variable(), nil
}

func orEmpty(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration file: %w", err)
	}
	var values map[string]string
	if err := yaml.Unmarshal(content, &values); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	return values, nil
}

// unknown reports names that are no settings: most often a typing error that
// would otherwise silently have no effect.
func unknown(env, file map[string]string) []error {
	variables, names := []string{"FAIRLEAD_CONFIG"}, []string{}
	for _, o := range options() {
		variables, names = append(variables, o.variable()), append(names, o.name)
		if o.secret {
			variables, names = append(variables, o.variable()+"_FILE"), append(names, o.name+"-file")
		}
	}
	var problems []error
	for name := range env {
		if strings.HasPrefix(name, "FAIRLEAD_") && !strings.HasPrefix(name, testPrefix) && !slices.Contains(variables, name) {
			problems = append(problems, fmt.Errorf("environment variable %s is not a setting", name))
		}
	}
	for name := range file {
		if !slices.Contains(names, name) {
			problems = append(problems, fmt.Errorf("configuration file: %s is not a setting", name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// complete fills in what follows from other settings and checks what must hold
// between them.
func (c *Config) complete() []error {
	var problems []error
	if (c.AdminEmail == "") != (c.AdminPassword == "") {
		problems = append(problems, errors.New("FAIRLEAD_ADMIN_EMAIL and FAIRLEAD_ADMIN_PASSWORD go together: set both or neither"))
	}
	if c.HTTPTLS == "files" && (c.HTTPTLSCert == "" || c.HTTPTLSKey == "") {
		problems = append(problems, errors.New("FAIRLEAD_HTTP_TLS=files needs FAIRLEAD_HTTP_TLS_CERT and FAIRLEAD_HTTP_TLS_KEY"))
	}
	if (c.CodeSigningCert == "") != (c.CodeSigningKey == "") {
		problems = append(problems, errors.New("FAIRLEAD_CODE_SIGNING_CERT and FAIRLEAD_CODE_SIGNING_KEY go together: set both or neither"))
	}
	problems = append(problems, c.completeACME()...)
	problems = append(problems, c.completeSMTP()...)
	if c.KeysDir == "" {
		c.KeysDir = filepath.Join(c.StateDir, "keys")
	}
	if err := c.completeReplica(); err != nil {
		problems = append(problems, err)
	}
	if c.AgentPublicAddr == "" {
		u, err := url.Parse(c.PublicURL)
		_, port, portErr := net.SplitHostPort(c.AgentAddr)
		if err != nil || portErr != nil {
			return append(problems, errors.Join(err, portErr))
		}
		c.AgentPublicAddr = net.JoinHostPort(u.Hostname(), port)
	}
	return problems
}

// completeACME checks that an authority can give a certificate for the public
// URL.
func (c *Config) completeACME() []error {
	if c.HTTPTLS != "acme" {
		if c.ACMEEmail != "" || c.ACMEDirectory != "" || c.ACMERoots != "" {
			return []error{errors.New("FAIRLEAD_ACME_EMAIL, _DIRECTORY and _ROOTS need FAIRLEAD_HTTP_TLS=acme")}
		}
		return nil
	}
	var problems []error
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "https" || net.ParseIP(u.Hostname()) != nil || !strings.Contains(u.Hostname(), ".") {
		problems = append(problems, errors.New("FAIRLEAD_HTTP_TLS=acme needs a FAIRLEAD_PUBLIC_URL with https and a name, such as https://fairlead.example.com"))
	}
	if d, err := url.Parse(c.ACMEDirectory); c.ACMEDirectory != "" && (err != nil || d.Scheme != "https" || d.Host == "") {
		problems = append(problems, errors.New("FAIRLEAD_ACME_DIRECTORY: want the https URL of the authority's directory"))
	}
	return problems
}

// completeSMTP checks that e-mails can be sent, or are not meant to be.
func (c *Config) completeSMTP() []error {
	var problems []error
	if c.SMTPAddr == "" {
		if c.SMTPFrom != "" || c.SMTPUsername != "" || c.SMTPPassword != "" || c.SMTPRoots != "" {
			problems = append(problems, errors.New("FAIRLEAD_SMTP_FROM, _USERNAME, _PASSWORD and _ROOTS need FAIRLEAD_SMTP_ADDR"))
		}
		return problems
	}
	if _, err := mail.ParseAddress(c.SMTPFrom); err != nil {
		problems = append(problems, errors.New("FAIRLEAD_SMTP_ADDR needs FAIRLEAD_SMTP_FROM: the address that e-mails come from"))
	}
	if (c.SMTPUsername == "") != (c.SMTPPassword == "") {
		problems = append(problems, errors.New("FAIRLEAD_SMTP_USERNAME and FAIRLEAD_SMTP_PASSWORD go together: set both or neither"))
	}
	if host, _, _ := net.SplitHostPort(c.SMTPAddr); c.SMTPTLS == "off" && c.SMTPPassword != "" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		problems = append(problems, errors.New("FAIRLEAD_SMTP_TLS=off would send the password readably: use starttls or tls, or a server on this machine"))
	}
	return problems
}

// completeReplica fills in what the other controllers are told of this one.
func (c *Config) completeReplica() error {
	if c.ReplicaAddr == "" {
		host, port, err := net.SplitHostPort(c.AgentAddr)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				return fmt.Errorf("FAIRLEAD_REPLICA_ADDR is not given and the host name is not known: %w", err)
			}
		}
		c.ReplicaAddr = net.JoinHostPort(host, port)
	}
	if c.ReplicaName == "" {
		c.ReplicaName = c.ReplicaAddr
	}
	return nil
}
