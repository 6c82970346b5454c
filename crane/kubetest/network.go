//go:build linux

package kubetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const (
	// NodeIP is the address of the node, of the API server, and of whatever a
	// test serves to pods.
	NodeIP      = "10.98.0.1"
	apiPort     = "6443"
	podSubnet   = "10.99.0.0/24"
	serviceCIDR = "10.96.0.0/16"
)

// linkUp makes the network of the node: pods reach it, and it has a way to
// the addresses of services.
func linkUp() error {
	for _, line := range []string{
		"ip link set lo up",
		"ip link add kt0 type bridge",
		"ip address add " + NodeIP + "/24 dev kt0",
		"ip link set kt0 up",
		"ip route add default dev kt0",
	} {
		words := strings.Fields(line)
		if out, err := exec.CommandContext(context.Background(), words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return fmt.Errorf("let the node forward: %w", err)
	}
	return nil
}
