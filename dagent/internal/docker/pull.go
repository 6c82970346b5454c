package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const (
	parallelPulls    = 3
	progressInterval = time.Second
)

// request is an image to pull, for the first workload that needs it.
type request struct {
	reference  string
	instanceID string
	auth       *spec.RegistryAuth
}

// requests lists the images of workloads, init containers' included, once
// each.
func requests(workloads []spec.Workload) []request {
	var list []request
	seen := map[string]bool{}
	add := func(r request) {
		if !seen[r.reference] {
			seen[r.reference] = true
			list = append(list, r)
		}
	}
	for _, w := range workloads {
		add(request{w.Image.Reference, w.InstanceID, w.Image.Auth})
		for _, other := range otherImages(w.Container) {
			add(request{other, w.InstanceID, otherImage(w, other).Auth})
		}
	}
	return list
}

func registryOf(text string) string {
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// pullError is a pull that failed, with the workload that needed it.
type pullError struct {
	instanceID string
	err        error
}

func (e *pullError) Error() string { return e.err.Error() }
func (e *pullError) Unwrap() error { return e.err }

// pulled is what an image reference stood for when it was pulled.
type pulled struct {
	// pinned is a reference that names the content, where the engine knows one.
	pinned string
	// checked is true when the image has a health check.
	checked bool
	// id is the engine's of the image.
	id string
}

func pulledAs(named string, local image.InspectResponse) pulled {
	return pulled{pinned: named, checked: hasCheck(local), id: local.ID}
}

// pullAll pulls every image and returns what each reference resolved to.
func (d *Driver) pullAll(ctx context.Context, list []request, s *workload.Story) (map[string]pulled, error) {
	images := make([]pulled, len(list))
	in := &intake{Driver: d, story: s}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPulls)
	for i, r := range list {
		group.Go(func() (err error) {
			if images[i], err = in.pull(ctx, r); err != nil {
				return &pullError{r.instanceID, err}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	resolved := map[string]pulled{}
	for i, r := range list {
		resolved[r.reference] = images[i]
	}
	return resolved, nil
}

func (d *intake) pull(ctx context.Context, r request) (pulled, error) {
	s := d.story
	named, err := reference.ParseDockerRef(r.reference)
	if err != nil {
		return pulled{}, apperr.Wrap(apperr.Invalid, err, "pull image %s", r.reference)
	}
	if _, digested := named.(reference.Canonical); digested {
		if local, err := d.engine.ImageInspect(ctx, named.String()); err == nil {
			s.Info(r.instanceID, "image %s is already here", r.reference)
			return pulledAs(named.String(), local), nil
		}
	}
	auth, err := encodeAuth(r.auth)
	if err != nil {
		return pulled{}, err
	}
	if err := d.begin(ctx, r.reference); err != nil {
		if local, current := d.current(ctx, named, r); current {
			s.Info(r.instanceID, "image %s is already here", r.reference)
			return pulledAs(pin(named, local), local), nil
		}
		return pulled{}, err
	}
	err = d.download(ctx, named, auth, r, s)
	local, missing := d.engine.ImageInspect(ctx, named.String())
	switch {
	case err == nil && missing != nil:
		return pulled{}, engineError(missing, "look at image %s after it was pulled", r.reference)
	case err != nil && apperr.Is(err, apperr.Unavailable) && missing == nil && ctx.Err() == nil:
		s.Warn(r.instanceID, "the registry of image %s cannot be reached (%v); continuing with the image that is already here", r.reference, err)
	case err != nil:
		return pulled{}, err
	}
	d.brought(named.String(), local.ID)
	return pulledAs(pin(named, local), local), nil
}

// hasCheck reports whether an image has a health check.
func hasCheck(image image.InspectResponse) bool {
	return image.Config != nil && image.Config.Healthcheck != nil && len(image.Config.Healthcheck.Test) > 1
}

// pin returns a reference that names the image by its digest, when the engine
// knows the digest of that repository, and by its tag otherwise.
func pin(named reference.Named, local image.InspectResponse) string {
	for _, text := range local.RepoDigests {
		other, err := reference.ParseNormalizedNamed(text)
		if err != nil {
			continue
		}
		if canonical, ok := other.(reference.Canonical); ok && other.Name() == named.Name() {
			if exact, err := reference.WithDigest(named, canonical.Digest()); err == nil {
				return exact.String()
			}
		}
	}
	return named.String()
}

func encodeAuth(auth *spec.RegistryAuth) (string, error) {
	if auth == nil || auth.Username == "" && auth.Password == "" {
		return "", nil
	}
	encoded, err := registry.EncodeAuthConfig(registry.AuthConfig{
		Username: auth.Username, Password: auth.Password, ServerAddress: auth.Server,
	})
	if err != nil {
		return "", fmt.Errorf("encode the registry credentials: %w", err)
	}
	return encoded, nil
}

// download has the engine pull an image, and folds its progress into events.
func (d *Driver) download(ctx context.Context, named reference.Named, auth string, r request, s *workload.Story) (err error) {
	s.Info(r.instanceID, "pulling image %s", r.reference)
	stream, err := d.engine.ImagePull(ctx, named.String(), image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return registryError(err, "pull", r.reference)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()

	layers := &progress{}
	next := d.options.Now().Add(progressInterval)
	for decoder := json.NewDecoder(stream); ; {
		var message pullMessage
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			s.Info(r.instanceID, "pulled image %s%s", r.reference, layers.digest)
			return nil
		case err != nil:
			return engineError(err, "pull image %s: read the engine's progress", r.reference)
		case message.Error != nil:
			return registryError(errors.New(message.Error.Message), "pull", r.reference)
		}
		layers.add(message)
		if now := d.options.Now(); !now.Before(next) {
			next = now.Add(progressInterval)
			s.Info(r.instanceID, "pulling image %s: %s", r.reference, layers)
		}
	}
}

// pullMessage is one message of the engine's stream about a pull.
type pullMessage struct {
	ID       string     `json:"id"`
	Status   string     `json:"status"`
	Progress layerBytes `json:"progressDetail"`
	Error    *struct {
		Message string `json:"message"`
	} `json:"errorDetail"`
}

type layerBytes struct {
	Current int64 `json:"current"`
	Total   int64 `json:"total"`
}

// progress sums up the layers of one pull.
type progress struct {
	layers map[string]layerBytes
	done   int
	digest string
}

func (p *progress) add(m pullMessage) {
	if digest, ok := strings.CutPrefix(m.Status, "Digest: "); ok {
		p.digest = ", " + digest
	}
	if m.ID == "" {
		return
	}
	if p.layers == nil {
		p.layers = map[string]layerBytes{}
	}
	switch m.Status {
	case "Pull complete", "Already exists":
		p.done++
	case "Downloading":
		p.layers[m.ID] = m.Progress
	}
}

func (p *progress) String() string {
	var current, total int64
	for _, layer := range p.layers {
		current, total = current+layer.Current, total+layer.Total
	}
	return fmt.Sprintf("%d layers done, %d of %d kB", p.done, current/1000, total/1000)
}

// registryError gives what the engine says of a registry its kind. The engine
// passes on the registry's words, mostly as errors without a code.
func registryError(err error, verb, ref string) error {
	text := err.Error()
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("toomanyrequests", "Too Many Requests"):
		return apperr.Wrap(apperr.TooMany, err, "%s image %s: the registry limits the rate", verb, ref)
	case has("no basic auth credentials", "unauthorized", "authentication required", "401 Unauthorized"):
		return apperr.Wrap(apperr.Unauthenticated, err, "%s image %s: the registry wants other credentials", verb, ref)
	case has("access denied", "access to the resource is denied", "403 Forbidden"):
		return apperr.Wrap(apperr.Forbidden, err, "%s image %s: the registry denies access, or has no such image", verb, ref)
	case has("manifest unknown", "name unknown", "not found", "no matching manifest"):
		return apperr.Wrap(apperr.NotFound, err, "%s image %s: the registry has no such image", verb, ref)
	case has("dial tcp", "no such host", "i/o timeout", "connection refused", "connection reset", "TLS handshake timeout",
		"Client.Timeout", "context deadline exceeded", "unexpected EOF", ": EOF", "received unexpected HTTP status: 5"):
		return apperr.Wrap(apperr.Unavailable, err, "%s image %s: the registry cannot be reached", verb, ref)
	}
	return engineError(err, "%s image %s", verb, ref)
}
