package rig

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"fairlead.dev/e2e/client"
)

const (
	adminEmail    = "admin@example.org"
	adminPassword = "correct horse battery staple"

	controllerPatience = 3 * time.Minute
)

// Controller is a controller process.
type Controller struct {
	*Process
	// Client is logged in as the administrator.
	Client *client.Client
	// HTTP, Agents and Debug are host:port of its listeners.
	HTTP, Agents, Debug string
	// Keys is the folder of its keys, which replicas of it need.
	Keys string

	spec Spec
}

// ControllerConfig says how to run a controller.
type ControllerConfig struct {
	// Program is the binary; its artifacts are beside it or in Artifacts.
	Program   string
	Artifacts string
	// Dir is for its keys and its log.
	Dir string
	// DatabaseURL is empty for the built-in PostgreSQL.
	DatabaseURL string
	// Env is more environment.
	Env []string
	// Keys is the folder of another controller's keys, for a replica of it; ""
	// for keys of its own.
	Keys string
	// LogLevel is "info" when empty.
	LogLevel string
	// PublicURL is what users are told to call; the controller's own listener
	// when empty. Those behind one balancer have one.
	PublicURL string
}

// NewController starts a controller and logs in.
func NewController(ctx context.Context, c ControllerConfig) (*Controller, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	if c.LogLevel == "" {
		c.LogLevel = "info"
	}
	x := &Controller{
		HTTP: addresses[0], Agents: addresses[1], Debug: addresses[2], Keys: cmp.Or(c.Keys, filepath.Join(c.Dir, "state", "keys")),
	}
	x.Client = client.New("http://" + x.HTTP)
	env := append([]string{"FAIRLEAD_ADMIN_EMAIL=" + adminEmail, "FAIRLEAD_ADMIN_PASSWORD=" + adminPassword}, c.Env...)
	if c.DatabaseURL != "" {
		env = append(env, "DATABASE_URL="+c.DatabaseURL)
	}
	args := []string{
		"serve", "--state-dir", filepath.Join(c.Dir, "state"), "--http-addr", x.HTTP, "--public-url", cmp.Or(c.PublicURL, "http://"+x.HTTP),
		"--agent-addr", x.Agents, "--agent-public-addr", x.Agents, "--debug-addr", x.Debug, "--log-level", c.LogLevel,
	}
	if c.Artifacts != "" {
		args = append(args, "--artifact-dir", c.Artifacts)
	}
	if c.Keys != "" {
		args = append(args, "--keys-dir", c.Keys, "--replica-addr", x.Agents)
	}
	x.spec = Spec{Program: c.Program, Args: args, Env: env, Log: filepath.Join(c.Dir, "controller.log"), Debug: x.Debug}
	return x, x.Start(ctx)
}

// Start runs the controller, again too, waits until it is ready and logs in.
func (x *Controller) Start(ctx context.Context) (err error) {
	if err := x.Launch(); err != nil {
		return err
	}
	return x.Ready(ctx)
}

// Launch runs the controller and waits for nothing.
func (x *Controller) Launch() (err error) {
	x.Process, err = Run(x.spec)
	return err
}

// Ready waits until the controller is ready and logs in.
func (x *Controller) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controllerPatience)
	defer cancel()
	err := x.wait(ctx, "the controller to be ready", func() error {
		return x.Client.Call(ctx, http.MethodGet, "/readyz", nil, nil)
	})
	if err != nil {
		return err
	}
	if err := x.Client.Login(ctx, adminEmail, adminPassword); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}
