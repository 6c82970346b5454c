package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// config is what the environment says.
type config struct {
	port       string
	greeting   string
	version    string
	unhealthy  bool
	readyAfter time.Duration
	exitCode   *int
	dataDir    string
	hostname   string
}

// configFromEnv reads the environment; the error names the variable.
func configFromEnv(lookup func(string) (string, bool)) (config, error) {
	get := func(key, otherwise string) string {
		if value, found := lookup(key); found && value != "" {
			return value
		}
		return otherwise
	}
	config := config{
		port:     get("PORT", "8080"),
		greeting: get("GREETING", "Hello from Fairlead"),
		version:  get("SAMPLE_VERSION", version),
		dataDir:  get("SAMPLE_DATA", "/data"),
	}
	if _, err := strconv.ParseUint(config.port, 10, 16); err != nil {
		return config, fmt.Errorf("PORT: must be a port number, is %q", config.port)
	}
	var err error
	if config.unhealthy, err = strconv.ParseBool(get("SAMPLE_UNHEALTHY", "false")); err != nil {
		return config, fmt.Errorf("SAMPLE_UNHEALTHY: must be true or false: %w", err)
	}
	if config.readyAfter, err = time.ParseDuration(get("SAMPLE_READY_AFTER", "0s")); err != nil {
		return config, fmt.Errorf("SAMPLE_READY_AFTER: must be a time like 2s: %w", err)
	}
	if text := get("SAMPLE_EXIT_CODE", ""); text != "" {
		code, err := parseExitCode(text)
		if err != nil {
			return config, fmt.Errorf("SAMPLE_EXIT_CODE: %w", err)
		}
		config.exitCode = &code
	}
	if config.hostname, err = os.Hostname(); err != nil {
		return config, fmt.Errorf("read the host name: %w", err)
	}
	return config, nil
}

func parseExitCode(text string) (int, error) {
	code, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("must be 0 to 255, is %q", text)
	}
	return int(code), nil
}
