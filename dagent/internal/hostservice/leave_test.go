package hostservice_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"fairlead.dev/dagent/internal/hostservice"
)

// role has this test's own program be a service that leaves, or what started it.
const role = "HOSTSERVICE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "parent":
		if err := parent(); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
			os.Exit(1)
		}
	case "service":
		if err := hostservice.Leave(context.Background()); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// parent starts a service and, unless it is ended, goes on for as long as the
// test wants it.
func parent() error {
	service := exec.Command("/proc/self/exe")
	service.Env = append(os.Environ(), role+"=service")
	service.Stdout = os.Stdout
	if err := service.Run(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// TestLeavingEndsTheSupervisorAlone: what OpenRC has start a service again is
// ended, and no other parent.
func TestLeavingEndsTheSupervisorAlone(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, ended := range map[string]bool{"supervise-daemon": true, "sh": false, "not-supervise-daemon": false} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, program, 0o700); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), file)
			command.Env = append(os.Environ(), role+"=parent")
			out, err := command.Output() // its input is empty: it ends when its service has left
			if len(out) > 0 {
				t.Fatalf("%s", out)
			}
			var exit *exec.ExitError
			if !ended && err != nil {
				t.Errorf("the parent of a service that left ended with %v", err)
			}
			if ended && !errors.As(err, &exit) {
				t.Fatalf("the supervisor goes on (%v)", err)
			}
			if ended {
				status, ok := exit.Sys().(syscall.WaitStatus)
				if !ok || status.Signal() != syscall.SIGTERM {
					t.Errorf("the supervisor ended with %v, not asked to", err)
				}
			}
		})
	}
}
