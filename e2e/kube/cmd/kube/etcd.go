package main

import (
	"fmt"
	"net/url"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// startWithin is how long etcd may take to be ready.
const startWithin = time.Minute

// etcd serves one member on a loopback port. What it is told is not synced to
// disk: the cluster is thrown away after a crash of the machine.
func etcd() *cobra.Command {
	var dir, client, peer string
	command := &cobra.Command{
		Use:          "etcd",
		Short:        "serve one member of etcd",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()

			config, err := configure(dir, client, peer)
			if err != nil {
				return err
			}
			server, err := embed.StartEtcd(config)
			if err != nil {
				return fmt.Errorf("start etcd in %s: %w", dir, err)
			}
			defer server.Close()
			select {
			case <-server.Server.ReadyNotify():
			case <-time.After(startWithin):
				return fmt.Errorf("etcd was not ready within %s", startWithin)
			}
			select {
			case <-ctx.Done():
				return nil
			case err := <-server.Err():
				return fmt.Errorf("serve etcd: %w", err)
			}
		},
	}
	command.Flags().StringVar(&dir, "data-dir", "", "where the data goes")
	command.Flags().StringVar(&client, "listen-client", "http://127.0.0.1:2379", "URL served to clients")
	command.Flags().StringVar(&peer, "listen-peer", "http://127.0.0.1:2380", "URL served to peers")
	return command
}

func configure(dir, client, peer string) (*embed.Config, error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	clientURL, err := url.Parse(client)
	if err != nil {
		return nil, fmt.Errorf("--listen-client: %w", err)
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return nil, fmt.Errorf("--listen-peer: %w", err)
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	return config, nil
}
