package pgserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/pgserver"
)

// helperState tells the test binary to be a controller that can be killed:
// it starts a server on this folder, prints the DSN and waits for the end.
const helperState = "PGSERVER_TEST_HELPER_STATE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperState); dir != "" {
		if err := helper(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func helper(dir string) error {
	server, err := pgserver.Start(context.Background(), pgserver.Config{
		StateDir: dir,
		Log:      slog.New(slog.DiscardHandler),
		Settings: map[string]string{"fsync": "off", "shared_buffers": "16MB"},
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, server.DSN()); err != nil {
		return err
	}
	// The parent's end closes the pipe: a failed test leaves nothing running.
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Stop(context.Background())
}

// startInOtherProcess starts a server under a process of its own, as a
// controller would.
func startInOtherProcess(t *testing.T, cfg pgserver.Config) (dsn string, controller *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	controller = exec.CommandContext(t.Context(), self)
	controller.Env = append(os.Environ(), helperState+"="+cfg.StateDir)
	controller.Stderr = t.Output()
	if _, err := controller.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := controller.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := controller.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the other process printed %q: %v", line, err)
	}
	return strings.TrimSpace(line), controller
}
