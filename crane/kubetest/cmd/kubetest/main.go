// Command kubetest runs a Kubernetes cluster of one node on this machine until it
// is interrupted, and says how to reach it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"fairlead.dev/crane/kubetest"
)

func main() {
	os.Exit(kubetest.Run(func(cluster *kubetest.Cluster) int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := announce(cluster); err != nil {
			fmt.Fprintln(os.Stderr, "kubetest:", err)
			return 1
		}
		<-ctx.Done()
		return 0
	}))
}

// announce prints how to use the cluster from another terminal: it can't be
// seen from the machine's own network.
func announce(cluster *kubetest.Cluster) error {
	process, err := cluster.Process()
	if err != nil {
		return err
	}
	_, err = fmt.Printf(`the cluster runs; ^C ends it and leaves nothing behind. From another terminal:

  nsenter --target %d --net --mount --pid env KUBECONFIG=%s %s kubectl get pods --all-namespaces
`, process, cluster.Kubeconfig(), cluster.Program())
	if err != nil {
		return fmt.Errorf("say how to reach it: %w", err)
	}
	return nil
}
