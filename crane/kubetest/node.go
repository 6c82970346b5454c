//go:build linux

package kubetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pauseImage holds a pod's namespaces; RegistryHost is where pods may pull from
// without TLS.
const (
	pauseImage   = "fairlead.test/pause:1"
	RegistryHost = NodeIP + ":5000"
)

// startEngine starts containerd and gives it the pause image.
func (p programs) startEngine(ctx context.Context) error {
	if err := p.configure(map[string]string{
		"containerd.toml":                            p.containerdConfig(),
		"cni/10-pods.conflist":                       cniConfig(),
		"registries/" + RegistryHost + "/hosts.toml": fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+RegistryHost),
	}); err != nil {
		return err
	}
	if err := p.start("containerd", "--config", filepath.Join(p.dir, "containerd.toml")); err != nil {
		return err
	}
	cluster := &Cluster{Dir: p.dir}
	return cluster.importPause(ctx, p.bin)
}

// startNode starts kubelet and kube-proxy.
func (p programs) startNode(c *credentials) error {
	if err := p.configure(map[string]string{"kubelet.yaml": p.kubeletConfig(c), "proxy.yaml": proxyConfig(c)}); err != nil {
		return err
	}
	if err := p.start("kubelet", "--config="+filepath.Join(p.dir, "kubelet.yaml"), "--kubeconfig="+c.path("node.kubeconfig"),
		"--hostname-override="+nodeName, "--node-ip="+NodeIP, "--root-dir=/var/lib/kubelet"); err != nil {
		return err
	}
	return p.start("kube-proxy", "--config="+filepath.Join(p.dir, "proxy.yaml"))
}

// configure writes files below the cluster's folder.
func (p programs) configure(files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(p.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make room for the node's configuration: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the node's configuration: %w", err)
		}
	}
	return nil
}

func containerdSocket(dir string) string { return filepath.Join(dir, "containerd.sock") }

func (p programs) containerdConfig() string {
	return strings.NewReplacer("{DIR}", p.dir, "{BIN}", p.bin, "{PAUSE}", pauseImage).Replace(`version = 2
root = "{DIR}/containerd/root"
state = "{DIR}/containerd/state"
[grpc]
  address = "{DIR}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{BIN}"
    conf_dir = "{DIR}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{DIR}/registries"
`)
}

func cniConfig() string {
	return `{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "` + podSubnet + `"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`
}

// kubeletConfig asks nothing of the machine that it may not give: no score
// against the out-of-memory killer below zero, control groups of version 1,
// full disks, swap.
func (p programs) kubeletConfig(c *credentials) string {
	return strings.NewReplacer(
		"{CA}", c.path("ca.crt"), "{CERT}", c.path("kubelet.crt"), "{KEY}", c.path("kubelet.key"),
		"{GROUP}", "/"+groupOf(p.dir), "{SOCKET}", containerdSocket(p.dir),
	).Replace(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: {CA}}}
authorization: {mode: Webhook}
tlsCertFile: {CERT}
tlsPrivateKeyFile: {KEY}
containerRuntimeEndpoint: unix://{SOCKET}
cgroupDriver: cgroupfs
cgroupRoot: {GROUP}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
localStorageCapacityIsolation: false
maxPods: 200
registryPullQPS: 0
eventRecordQPS: 200
eventBurst: 400
kubeAPIQPS: 200
kubeAPIBurst: 400
serializeImagePulls: false
crashLoopBackOff: {maxContainerRestartPeriod: 10s}
resolvConf: ""
syncFrequency: 10s
`)
}

func proxyConfig(c *credentials) string {
	// Everything is masqueraded: bridged packets do not pass the machine's
	// rules, so that an answer has to come back through the node.
	return `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: ` + nodeName + `
clusterCIDR: ` + podSubnet + `
clientConnection: {kubeconfig: ` + c.path("proxy.kubeconfig") + `}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {masqueradeAll: true, syncPeriod: 1s, minSyncPeriod: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
`
}
