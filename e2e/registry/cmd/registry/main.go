// Command registry runs a container registry on a loopback address until it is
// told to stop: the place a one-machine installation pulls its images from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fairlead.dev/e2e/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	addr := flag.String("addr", "127.0.0.1:5000", "loopback `address` to listen on; port 0 is a free one")
	storage := flag.String("storage", "", "`folder` for images; empty forgets them at the end")
	flag.Parse()

	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server, err := registry.Start(starting, registry.Config{Addr: *addr, Storage: *storage, Log: os.Stderr})
	if err != nil {
		return err
	}
	fmt.Println(server.Addr())
	select {
	case <-ctx.Done():
		return server.Stop()
	case <-server.Done():
		return errors.Join(errors.New("the registry ended on its own; its log is above"), server.Stop())
	}
}
