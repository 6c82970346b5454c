package docker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// point has a tag in the registry stand for what another reference does.
func (r *registry) point(s *site, tag, reference string) {
	s.Helper()
	stream, err := s.engine.ImagePull(s.Context(), reference, image.PullOptions{RegistryAuth: r.auth(s)})
	if err != nil {
		s.Fatal(err)
	}
	drain(s, stream)
	r.pushImage(s, reference, tag)
}

// told is what the last event said that told digests of other images of web.
func (s *site) told(reference string) (digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if d := e.OtherDigests[reference]; d != "" && e.InstanceID == "instance-web" {
			digest = d
		}
	}
	return digest
}

// Images of init containers are what their tags stand for at the start, as an
// instance's own image is: told, compared at the next start, and pinned by a
// rollback.
func TestWhatAnInitContainersImageStoodForIsToldAndCompared(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	s := newSite(t, quick())
	versions := r.pushVersions(s, 3)
	tag := r.address + "/team/init:1"
	r.point(s, tag, versions[1])
	with := func(release int64, reference string) spec.Deployment {
		w := r.from(versions[0])
		w.Container.InitContainers = []spec.InitContainer{{Name: "prepare", Image: reference, Args: keys("exit", "0")}}
		return s.release(release, w)
	}
	tagged := with(1, tag)
	s.apply(tagged)
	first, one := s.inspect("web"), s.told(tag)
	if !strings.HasPrefix(one, "sha256:") {
		t.Fatalf("it is not told what %s stood for:\n%s", tag, s.story())
	}
	s.events = nil
	s.apply(with(2, tag))
	if now := s.inspect("web"); now.ID != first.ID || s.told(tag) != one {
		t.Fatalf("a start that changes nothing made another container, or told %q, want %q", s.told(tag), one)
	}

	r.point(s, tag, versions[2])
	if p := s.planned(with(3, tag)); p.Action != workload.ActionReplace || !slices.Equal(p.Changes, []string{"initContainers.prepare.image"}) {
		t.Errorf("an init container's tag that moved is planned as %+v", p)
	}
	s.apply(with(3, tag))
	second, two := s.inspect("web"), s.told(tag)
	if second.ID == first.ID || two == one {
		t.Errorf("the container was not made anew by the image that the tag stands for now: %s, %s", one, two)
	}

	pinned := func(release int64, digest string) spec.Deployment {
		d := with(release, tag+"@"+digest)
		d.Workloads[0].Hash = tagged.Workloads[0].Hash // as the controller renders a rollback
		return d
	}
	s.apply(pinned(4, two))
	if now := s.inspect("web"); now.ID != second.ID {
		t.Error("a rollback to what runs made another container")
	}
	s.apply(pinned(5, one))
	if now := s.inspect("web"); now.ID == second.ID || s.told(tag+"@"+one) != one {
		t.Errorf("a rollback to the earlier init image left the container, or told %q, want %q", s.told(tag+"@"+one), one)
	}
}
