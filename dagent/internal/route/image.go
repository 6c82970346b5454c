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
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"fairlead.dev/shared/apperr"
)

// loaded is what the agent has loaded into the engine.
type loaded struct {
	// Artifact is the digest of the archive, Image the engine's id of what was
	// in it.
	Artifact string `json:"artifact"`
	Image    string `json:"image"`
	// Tag is what the archive calls the image; empty in records of before.
	Tag string `json:"tag,omitempty"`
	// Earlier are those that were loaded before, the newest first.
	Earlier []earlier `json:"earlier,omitempty"`
}

// earlier is an image that an earlier version of the agent has loaded.
type earlier struct {
	Image string `json:"image"`
	Tag   string `json:"tag,omitempty"`
}

// keptEarlier is how many earlier images stay: an update that is taken back
// needs the one before.
const keptEarlier = 1

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
			e.sweep(ctx, record, was)
			return was.Image, nil
		}
		if !cerrdefs.IsNotFound(err) {
			return "", apperr.Wrap(apperr.Unavailable, err, "look at the edge's image")
		}
	}
	id, tag, err := e.load(ctx)
	if err != nil {
		return "", err
	}
	now := loaded{Artifact: e.options.Artifact, Image: id, Tag: tag, Earlier: was.Earlier}
	if was.Image != "" {
		now.Earlier = slices.Insert(slices.Clone(now.Earlier), 0, earlier{was.Image, was.Tag})
	}
	now.Earlier = slices.DeleteFunc(now.Earlier, func(o earlier) bool { return o.Image == id })
	if err := writeLoaded(record, now); err != nil {
		return "", err
	}
	e.sweep(ctx, record, now)
	return id, nil
}

// sweep removes the images that earlier versions loaded, but for the last. One
// that a container uses stays until none does, and so does one that somebody
// has given another tag.
func (e *Edge) sweep(ctx context.Context, record string, now loaded) {
	if len(now.Earlier) <= keptEarlier {
		return
	}
	left := slices.Clone(now.Earlier[:keptEarlier])
	for _, old := range now.Earlier[keptEarlier:] {
		gone, err := e.removeImage(ctx, old)
		if err != nil {
			e.options.Logger.Warn("remove the image of an earlier edge proxy", "image", old.Image, "error", err)
		}
		if !gone {
			left = append(left, old)
		}
	}
	if len(left) == len(now.Earlier) {
		return
	}
	now.Earlier = left
	if err := writeLoaded(record, now); err != nil {
		e.options.Logger.Warn("note which images of the edge are there", "error", err) // they are looked for again
	}
}

// removeImage reports whether the image is not there any more. The engine has
// the last word: without force it removes none that a container uses.
func (e *Edge) removeImage(ctx context.Context, old earlier) (bool, error) {
	seen, err := e.engine.ImageInspect(ctx, old.Image)
	if cerrdefs.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if len(seen.RepoTags) > 1 || len(seen.RepoTags) == 1 && seen.RepoTags[0] != old.Tag {
		return false, nil
	}
	_, err = e.engine.ImageRemove(ctx, old.Image, image.RemoveOptions{PruneChildren: true})
	if cerrdefs.IsConflict(err) {
		return false, nil
	}
	return err == nil || cerrdefs.IsNotFound(err), err
}

// load gets the archive and has the engine load it; it returns the image's id
// and what the archive calls it.
func (e *Edge) load(ctx context.Context) (id, tag string, err error) {
	archive := filepath.Join(e.options.StateDir, "edge.tar")
	if err := e.options.Fetch(ctx, e.options.Artifact, archive); err != nil {
		return "", "", apperr.Wrap(apperr.KindOf(err), err, "get the edge proxy's image from the controller")
	}
	file, err := os.Open(archive)
	if err != nil {
		return "", "", fmt.Errorf("load the edge's image: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(archive)) }()
	// The engine's client closes what it can close.
	answer, err := e.engine.ImageLoad(ctx, io.NopCloser(file))
	if err != nil {
		return "", "", apperr.Wrap(apperr.Unavailable, err, "load the edge's image")
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
			return "", "", apperr.New(apperr.Internal, "load the edge's image: %s", line.Error)
		}
		if said, ok := strings.CutPrefix(strings.TrimSpace(line.Stream), "Loaded image: "); ok {
			name = said
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", apperr.Wrap(apperr.Unavailable, err, "load the edge's image")
	}
	seen, err := e.engine.ImageInspect(ctx, name)
	if err != nil {
		return "", "", apperr.Wrap(apperr.Internal, err, "find the edge's image %q after it was loaded", name)
	}
	return seen.ID, name, nil
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
