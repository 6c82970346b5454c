package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fairlead.dev/shared/debugserver"
)

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = value
		return nil
	}
}

func secret(field func(*Config) *Secret) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = Secret(value)
		return nil
	}
}

func oneOf(field func(*Config) *string, values ...string) func(*Config, string) error {
	return func(c *Config, value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("%q: want %s", value, strings.Join(values, " or "))
		}
		*field(c) = value
		return nil
	}
}

func address(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		if value == "" {
			return nil
		}
		if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
			return fmt.Errorf("%q: want host:port or :port", value)
		}
		*field(c) = value
		return nil
	}
}

func loopback(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		if value != "" {
			if err := debugserver.Check(value); err != nil {
				return err
			}
		}
		*field(c) = value
		return nil
	}
}

func folder(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		absolute, err := filepath.Abs(value)
		if err != nil || value == "" {
			return fmt.Errorf("%q: want a folder", value)
		}
		*field(c) = absolute
		return nil
	}
}

func duration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("%q: want a time such as 20s or 1m", value)
		}
		*field(c) = d
		return nil
	}
}

func durationOrZero(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("%q: want a time such as 5s, or 0", value)
		}
		*field(c) = d
		return nil
	}
}

func publicURL(c *Config, value string) error {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q: want http:// or https://, a host, and nothing but a path behind it", value)
	}
	c.PublicURL = strings.TrimSuffix(u.String(), "/")
	return nil
}
