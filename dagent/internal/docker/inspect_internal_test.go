package docker

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
)

func TestRedactTakesSecretsOut(t *testing.T) {
	seen := container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{
			Name: "/shop-web",
			State: &container.State{Health: &container.Health{Log: []*container.HealthcheckResult{
				{Output: "first"}, {Output: "second"}, {Output: "third"}, {Output: "fourth"},
			}}},
			HostConfig: &container.HostConfig{
				LogConfig:  container.LogConfig{Type: "splunk", Config: map[string]string{"splunk-token": "s3cret-log"}},
				StorageOpt: map[string]string{"key": "s3cret-storage"},
				Mounts: []mount.Mount{{}, {VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{
					Options: map[string]string{"o": "password=s3cret-volume"},
				}}}},
			},
		},
		Config: &container.Config{
			Env: []string{"PASSWORD=s3cret-env", "EMPTY", "TWO=a=s3cret-equals"},
			Labels: map[string]string{
				"traefik.http.middlewares.a.basicauth.users": "s3cret-label", "dev.fairlead.prefix": "shop",
			},
		},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"none": nil, "net": {DriverOpts: map[string]string{"key": "s3cret-network"}},
		}},
	}
	redact(&seen)
	text, err := json.Marshal(seen)
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(text), "s3cret"); i >= 0 {
		t.Errorf("not hidden: %.40s", text[i:])
	}
	for _, kept := range []string{"PASSWORD=(hidden)", "EMPTY=(hidden)", `"dev.fairlead.prefix":"shop"`, "splunk-token", "fourth"} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("%s is gone from %s", kept, text)
		}
	}
	redact(&container.InspectResponse{}) // nothing there: nothing happens
}
