//go:build linux

package kubetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BinVariable names the environment variable with the folder of the cluster's
// programs, where it is not bin/kube of the tree.
const BinVariable = "FAIRLEAD_KUBE_BIN"

func missing() error {
	var all []error
	if os.Geteuid() != 0 {
		all = append(all, errors.New("a cluster needs root: it makes namespaces, control groups and containers"))
	}
	for _, program := range []string{"containerd", "ctr", "runc", "ip", "nft", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			all = append(all, fmt.Errorf("%s is not installed; scripts/ensure-kube.sh installs what a cluster needs", program))
		}
	}
	bin, err := binDir()
	if err != nil {
		all = append(all, err)
	} else if _, err := os.Stat(filepath.Join(bin, "kube")); err != nil {
		all = append(all, fmt.Errorf("the programs of the cluster are not in %s; `make kube-build` builds them", bin))
	}
	return errors.Join(all...)
}

// binDir finds the folder of the cluster's programs.
func binDir() (string, error) {
	if dir := os.Getenv(BinVariable); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the tree: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, "bin", "kube"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.work above the working directory; name the cluster's programs in %s", BinVariable)
		}
	}
}
