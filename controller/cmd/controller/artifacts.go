package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
)

const artifactsUsage = `usage: controller artifacts push <repository> [flags]

Brings the agent for Kubernetes that this controller serves, for every
architecture, to a repository of a registry, like registry.example.org/fairlead/crane.
It keeps its digest, by which agents ask for it when they are updated. The
credentials are those that docker login left. The flags are those of the
controller; --artifact-dir says where the archives are.
`

// artifactsCommand brings what the controller serves to a registry.
func artifactsCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) < 2 || args[0] != "push" || strings.HasPrefix(args[1], "-") {
		fmt.Fprint(stderr, artifactsUsage)
		return exitUsage
	}
	c, err := config.Load(args[2:], environ)
	if err != nil {
		fmt.Fprintf(stderr, "controller: the configuration has problems:\n%v\n", err)
		return exitUsage
	}
	pushed, err := app.PushCrane(ctx, c, args[1])
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "%s is in the registry; install scripts of type k8s take one of these after --image:\n", pushed.Name)
	for _, arch := range slices.Sorted(maps.Keys(pushed.Digests)) {
		fmt.Fprintf(stdout, "  %s (linux/%s)\n", pushed.Digests[arch], arch)
	}
	return exitOK
}
