package docker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
)

// applyFile, in the environment, makes the test program an agent that applies
// the deployment in a file; see TestMain.
const applyFile = "FAIRLEAD_TEST_APPLY"

// applyInProcess applies a deployment. Before each call that changes something
// it says so on standard output and waits for a line.
func applyInProcess(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d spec.Deployment
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	engine, err := docker.Connect("")
	if err != nil {
		return err
	}
	asking := &askingEngine{Client: engine, answers: bufio.NewReader(os.Stdin)}
	return docker.New(asking, swift()).Apply(context.Background(), d, quiet())
}

// askingEngine waits for permission before each call that changes something.
type askingEngine struct {
	*client.Client
	asking  sync.Mutex
	answers *bufio.Reader
}

func (e *askingEngine) ask(call string) {
	e.asking.Lock()
	defer e.asking.Unlock()
	fmt.Fprintln(os.Stdout, call)
	_, _ = e.answers.ReadString('\n') // the end of the input permits as well
}

func (e *askingEngine) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *ocispec.Platform, name string) (container.CreateResponse, error) {
	e.ask("create " + name)
	return e.Client.ContainerCreate(ctx, c, h, n, p, name)
}

func (e *askingEngine) ContainerStart(ctx context.Context, id string, o container.StartOptions) error {
	e.ask("start")
	return e.Client.ContainerStart(ctx, id, o)
}

func (e *askingEngine) ContainerStop(ctx context.Context, id string, o container.StopOptions) error {
	e.ask("stop")
	return e.Client.ContainerStop(ctx, id, o)
}

func (e *askingEngine) ContainerRename(ctx context.Context, id, name string) error {
	e.ask("rename to " + name)
	return e.Client.ContainerRename(ctx, id, name)
}

func (e *askingEngine) ContainerRemove(ctx context.Context, id string, o container.RemoveOptions) error {
	e.ask("remove")
	return e.Client.ContainerRemove(ctx, id, o)
}

// A process that is killed while the engine is at one of its calls: the call
// goes on. What comes next puts everything right all the same.
func TestAProcessThatIsKilledConverges(t *testing.T) {
	t.Parallel()
	for call := 1; ; call += 2 { // every other one, for they take their time
		s := newSite(t, swift())
		port := publishes(freePort(t))
		// In strict order, so that the calls are the same each time.
		made := func(number int64, text string) spec.Deployment {
			d := s.release(number, web(port, greet(text)), named("db", greet(text)))
			d.Policy.Parallelism = 1
			return d
		}
		s.apply(made(1, "one"))
		at, killed := killAt(t, made(2, "two"), call)
		if !killed {
			if call < 8 {
				t.Fatalf("only %d engine calls were seen", call-1)
			}
			s.forget()
			return
		}
		// A release that cannot be pulled: whatever serves goes on, and is whole.
		missing := named("db")
		missing.Image.Reference = missingImage
		s.applyFails(s.release(3, web(greet("three")), missing))
		s.serves("killed at "+at+", then a failing release", nil)
		if found := s.containers(); found["web"].Release != found["db"].Release || len(found) != 2 {
			t.Errorf("killed at %s: a mixture serves: %+v", at, found)
		}
		s.apply(made(4, "two"))
		s.serves("killed at "+at+", then applied again", nil)
		s.forget()
	}
}

// killAt runs an agent that applies the deployment and kills it while its n-th
// call is under way. It returns false when there is no such call.
func killAt(t *testing.T, d spec.Deployment, call int) (at string, killed bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "deployment.json")
	text, err := json.Marshal(d)
	if err := errors.Join(err, os.WriteFile(file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), os.Args[0])
	process.Env = append(os.Environ(), applyFile+"="+file)
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		call--
		fmt.Fprintln(in)
		if call == 0 {
			_ = process.Process.Kill()
			_ = process.Wait()
			return strings.TrimSpace(lines.Text()), true
		}
	}
	if err := process.Wait(); err != nil {
		t.Fatalf("apply in a process: %v", err)
	}
	return "", false
}
