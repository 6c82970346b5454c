// Command kube is every program of a small Kubernetes cluster in one binary,
// so that it is linked once: the control plane, a node and kubectl, each under
// its own name. Call it through a link of that name, or with the name as the
// first argument:
//
//	kube kube-apiserver --etcd-servers=…
//
// It is built from the Kubernetes modules and changes nothing in them.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as the programs themselves do
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	kubectl "k8s.io/kubectl/pkg/cmd"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if len(args) > 0 && slices.Contains(programs(), args[0]) {
		name, args = args[0], args[1:]
	}
	command := program(name)
	if command == nil {
		fmt.Fprintf(os.Stderr, "%s is none of %v\n", name, programs())
		os.Exit(2)
	}
	os.Args = append([]string{name}, args...)
	os.Exit(cli.Run(command))
}

func programs() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}
}

// program makes the one command that is wanted: making one installs handlers
// of signals, which can be done once in a process.
func program(name string) *cobra.Command {
	switch name {
	case "etcd":
		return etcd()
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand()
	default:
		return nil
	}
}
