//go:build linux

package kube_test

import (
	"errors"
	"strings"
	"testing"

	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/bucket/buckettest"
	"fairlead.dev/shared/ociimage"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Images that fill volumes: the agent's own, and one of a configuration, which
// has no program at all.
const (
	agentImage  = "fairlead.test/crane:1"
	configImage = "fairlead.test/config:1"
)

// newStorage serves a bucket to pods that know the key.
func newStorage(t *testing.T, files map[string]string) (url string) {
	t.Helper()
	store := buckettest.New(t, kubetest.NodeIP)
	for name, content := range files {
		store.Put(t, name, content)
	}
	return store.URL
}

// said returns the log of the workload web.
func (s site) said(t *testing.T, prefix string) string {
	t.Helper()
	var text strings.Builder
	err := s.Logs(t.Context(), workload.ContainerID{Prefix: prefix, Name: "web"}, workload.LogOptions{Tail: -1}, func(l workload.LogLine) error {
		text.WriteString(l.Text + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestVolumesAreFilledBeforeTheStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cluster := kubetest.Running(t)
	importProgramOf(t, cluster, agentImage, "/crane", "fairlead.dev/crane/internal/kube/testdata/filler")
	importImage(t, cluster, configImage, ociimage.Spec{Files: []ociimage.File{{Path: "/conf/app.conf", Content: []byte("configured")}}})
	const prefix = "filled"
	url := newStorage(t, map[string]string{"site/index.html": "welcome", "other": "not asked for"})
	with := func(number int64, key string, args ...string) spec.Deployment {
		return release(prefix, number, func(c *spec.Container) {
			c.User = new(int64(1000))
			c.Volumes = []spec.Volume{
				{Name: "conf", Path: "/conf", Type: spec.VolumeTemporary}, {Name: "site", Path: "/site", Type: spec.VolumeReadOnly, Size: "1Mi"},
			}
			c.ConfigContainer = &spec.ConfigContainer{Image: configImage, Volume: "conf", Path: "/conf"}
			c.Storage = &spec.Storage{
				StorageID: "storage", Path: "site", Bucket: "assets/site", URL: url, Keys: &spec.StorageKeys{Access: key, Secret: "hunter2"},
			}
			for _, a := range args {
				c.Args = append(c.Args, spec.Key{Key: a})
			}
		})
	}
	if err := s.Apply(t.Context(), with(1, "robot", "cat", "/conf/app.conf", "/site/index.html"), silence()); err != nil {
		t.Fatal(err)
	}
	if log := s.said(t, prefix); !strings.Contains(log, "configured") || !strings.Contains(log, "welcome") {
		t.Errorf("the container sees %q", log)
	}
	// A storage that refuses ends the release, with its words.
	var failure *workload.Failure
	err := s.Apply(t.Context(), with(2, "thief", "cat", "/site/index.html", "/conf/app.conf"), silence())
	if !errors.As(err, &failure) || failure.Step != workload.StepInit || !strings.Contains(strings.Join(failure.LogTail, "\n"), buckettest.RefusalWords) {
		t.Errorf("a storage that refuses: %+v", err)
	}
}

func TestSecretFilesAreReadByWhomTheyAreFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "files"
	for number, test := range []struct {
		user *int64
		want string
	}{{new(int64(1000)), "-r--r----- of 0: hush, writable false"}, {nil, "-r--r--r-- of 0: hush, writable false"}} {
		d := release(prefix, int64(number+1), func(c *spec.Container) {
			c.User = test.user
			c.Secrets = []spec.Secret{{Key: "/run/secrets/password", Value: "hush"}, {Key: "TOKEN", Value: "secret"}}
			c.Args = []spec.Key{{Key: "look"}, {Key: "/run/secrets/password"}}
		})
		if err := s.Apply(t.Context(), d, silence()); err != nil {
			t.Fatal(err)
		}
		if log := s.said(t, prefix); !strings.Contains(log, test.want) {
			t.Errorf("the container sees %q, want %q", log, test.want)
		}
		shown, err := s.Inspect(t.Context(), workload.ContainerID{Prefix: prefix, Name: "web"})
		if err != nil || strings.Contains(string(shown), "hush") || !strings.Contains(string(shown), "TOKEN") {
			t.Errorf("inspected: %s, %v", shown, err)
		}
	}
}
