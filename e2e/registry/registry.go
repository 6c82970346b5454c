// Package registry runs a real container registry, distribution's, as a child
// process: for tests, and for machines that have no other registry at hand.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// ErrNotInstalled is the answer when the machine has no registry program.
var ErrNotInstalled = errors.New("no registry program found: install the package docker-registry (apt-get install docker-registry), which brings /usr/bin/docker-registry")

// Config says how the registry runs. The zero value is an anonymous registry on
// a free loopback port that forgets everything when it stops.
type Config struct {
	// Addr is the loopback address to listen on; empty means 127.0.0.1:0, a
	// free port. It must be loopback because the registry speaks plain HTTP.
	Addr string
	// Storage is the folder for images, made when missing and kept by Stop.
	// Empty means a temporary one that Stop removes.
	Storage string
	// Username and Password, when set, are demanded from every client (basic
	// authentication); others are answered 401.
	Username, Password string
	// Log receives what the registry prints; nil discards it.
	Log io.Writer
}

func (c Config) validate() error {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("addr %q: %w", c.Addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("addr %q: must be a loopback IP address and a port", c.Addr)
	}
	if (c.Username == "") != (c.Password == "") {
		return errors.New("username and password: give both or neither")
	}
	return nil
}

// Registry is a running registry.
type Registry struct {
	addr    string
	scratch string
	process *process
}

// Start runs the registry and returns when it answers. ctx bounds the start,
// not the life of the registry: that ends with Stop or with this process.
// Errors: ErrNotInstalled, a Config field that cannot be used, or what the
// registry itself said before it gave up.
func Start(ctx context.Context, config Config) (*Registry, error) {
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	binary, err := find()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "fairlead-registry-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the registry: %w", err)
	}
	registry := &Registry{scratch: scratch}
	if err := registry.start(ctx, binary, config); err != nil {
		return nil, errors.Join(err, registry.Stop())
	}
	return registry, nil
}

func (r *Registry) start(ctx context.Context, binary string, config Config) error {
	file, err := writeConfig(r.scratch, config)
	if err != nil {
		return err
	}
	r.process, err = startProcess(binary, file, config.Log)
	if err != nil {
		return err
	}
	r.addr, err = r.process.listening(ctx)
	if err != nil {
		return err
	}
	return r.answers(ctx)
}

// answers waits until the registry API replies: 200, or 401 when it wants a
// password.
func (r *Registry) answers(ctx context.Context) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/v2/", http.NoBody)
		if err != nil {
			return fmt.Errorf("ask the registry: %w", err)
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusUnauthorized {
				return nil
			}
			err = fmt.Errorf("it answered %s", response.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the registry on %s: %w; last: %w", r.addr, ctx.Err(), err)
		case <-r.process.done:
			return r.process.failure()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Addr is the host and port of the registry, the first part of image names.
func (r *Registry) Addr() string { return r.addr }

// Done is closed when the registry's process has ended.
func (r *Registry) Done() <-chan struct{} { return r.process.done }

// Stop ends the registry and removes what was temporary. It may be called
// more than once.
func (r *Registry) Stop() error {
	if r.process != nil {
		r.process.stop()
	}
	if err := os.RemoveAll(r.scratch); err != nil {
		return fmt.Errorf("remove the registry's folder: %w", err)
	}
	return nil
}

// find locates the registry program under Debian's name or upstream's.
func find() (string, error) {
	for _, name := range []string{"docker-registry", "registry"} {
		if binary, err := exec.LookPath(name); err == nil {
			return binary, nil
		}
	}
	return "", ErrNotInstalled
}

// writeConfig writes the registry's configuration into scratch. JSON is YAML
// too, so the standard library is enough.
func writeConfig(scratch string, config Config) (string, error) {
	storage := config.Storage
	if storage == "" {
		storage = filepath.Join(scratch, "images")
	}
	storage, err := filepath.Abs(storage)
	if err != nil {
		return "", fmt.Errorf("storage %q: %w", config.Storage, err)
	}
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return "", fmt.Errorf("storage %q: %w", config.Storage, err)
	}
	type object = map[string]any
	document := object{
		"version": "0.1",
		"log":     object{"level": "info", "formatter": "json", "accesslog": object{"disabled": true}},
		"storage": object{
			"filesystem": object{"rootdirectory": storage},
			"delete":     object{"enabled": true},
		},
		"http": object{"addr": config.Addr},
	}
	if config.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(config.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		users := filepath.Join(scratch, "htpasswd")
		if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", config.Username, hash), 0o600); err != nil {
			return "", fmt.Errorf("write the registry's users: %w", err)
		}
		document["auth"] = object{"htpasswd": object{"realm": "fairlead", "path": users}}
	}
	content, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("encode the registry's configuration: %w", err)
	}
	file := filepath.Join(scratch, "config.yml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("write the registry's configuration: %w", err)
	}
	return file, nil
}
