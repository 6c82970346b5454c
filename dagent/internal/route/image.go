package route

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	cerrdefs "github.com/containerd/errdefs"

	"fairlead.dev/shared/apperr"
)

// loaded is what the agent has loaded into the engine.
type loaded struct {
	// Artifact is the digest of the archive, Image the engine's id of what was
	// in it.
	Artifact string `json:"artifact"`
	Image    string `json:"image"`
}

// ensureImage has the edge's image on the engine and returns its id. It is
// gotten from the controller once for each version of the agent, and checked
// by the digest that is built into the agent.
func (e *Edge) ensureImage(ctx context.Context) (string, error) {
	if e.options.Image != "" {
		seen, err := e.engine.ImageInspect(ctx, e.options.Image)
		if err != nil {
			return "", apperr.Wrap(apperr.Precondition, err, "find the image %s, which this node is told to use for its edge proxy", e.options.Image)
		}
		return seen.ID, nil
	}
	if e.options.Artifact == "" || e.options.Fetch == nil {
		return "", apperr.New(apperr.Unsupported, "routing: this build of the agent knows no edge proxy; "+
			"build it by make artifacts, or name an image on the engine (DAGENT_EDGE_IMAGE)")
	}
	record := filepath.Join(e.options.StateDir, "edge-image.json")
	was, err := readLoaded(record)
	if err != nil {
		return "", err
	}
	if was.Artifact == e.options.Artifact {
		_, err := e.engine.ImageInspect(ctx, was.Image)
		if err == nil {
			return was.Image, nil
		}
		if !cerrdefs.IsNotFound(err) {
			return "", apperr.Wrap(apperr.Unavailable, err, "look at the edge's image")
		}
	}
	id, err := e.load(ctx)
	if err != nil {
		return "", err
	}
	return id, writeLoaded(record, loaded{Artifact: e.options.Artifact, Image: id})
}

// load gets the archive and has the engine load it.
func (e *Edge) load(ctx context.Context) (id string, err error) {
	archive := filepath.Join(e.options.StateDir, "edge.tar")
	if err := e.options.Fetch(ctx, e.options.Artifact, archive); err != nil {
		return "", apperr.Wrap(apperr.KindOf(err), err, "get the edge proxy's image from the controller")
	}
	file, err := os.Open(archive)
	if err != nil {
		return "", fmt.Errorf("load the edge's image: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(archive)) }()
	// The engine's client closes what it can close.
	answer, err := e.engine.ImageLoad(ctx, io.NopCloser(file))
	if err != nil {
		return "", apperr.Wrap(apperr.Unavailable, err, "load the edge's image")
	}
	defer func() { _ = answer.Body.Close() }()
	name := ""
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		var line struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // progress in other words
		}
		if line.Error != "" {
			return "", apperr.New(apperr.Internal, "load the edge's image: %s", line.Error)
		}
		if said, ok := strings.CutPrefix(strings.TrimSpace(line.Stream), "Loaded image: "); ok {
			name = said
		}
	}
	if err := lines.Err(); err != nil {
		return "", apperr.Wrap(apperr.Unavailable, err, "load the edge's image")
	}
	seen, err := e.engine.ImageInspect(ctx, name)
	if err != nil {
		return "", apperr.Wrap(apperr.Internal, err, "find the edge's image %q after it was loaded", name)
	}
	return seen.ID, nil
}

func readLoaded(path string) (was loaded, err error) {
	raw, err := os.ReadFile(path)
	if isMissing(err) {
		return loaded{}, nil
	}
	if err != nil {
		return loaded{}, fmt.Errorf("read which edge was loaded: %w", err)
	}
	if json.Unmarshal(raw, &was) != nil {
		was = loaded{} // it is loaded again
	}
	return was, nil
}

func writeLoaded(path string, l loaded) error {
	raw, err := json.Marshal(l)
	if err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write down which edge was loaded: %w", err)
	}
	return nil
}
