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

const artifactsUsage = `usage: controller artifacts push dagent|crane <repository> [flags]

Brings an agent that this controller serves, dagent (for Docker) or crane (for
Kubernetes), for every architecture, to a repository of a registry, like
registry.example.org/fairlead/dagent. It keeps its digest, which scripts for Docker
pin, and by which agents of clusters ask for it when they are updated. The
credentials are those that docker login left. The flags are those of the
controller; --artifact-dir says where the archives are.
`

// artifactsCommand brings what the controller serves to a registry.
func artifactsCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) < 3 || args[0] != "push" || strings.HasPrefix(args[1], "-") || strings.HasPrefix(args[2], "-") {
		fmt.Fprint(stderr, artifactsUsage)
		return exitUsage
	}
	c, err := config.Load(args[3:], environ)
	if err != nil {
		return misconfigured(err, artifactsUsage, stdout, stderr)
	}
	agent, repository := args[1], args[2]
	pushed, err := app.PushAgent(ctx, c, agent, repository)
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitFailed
	}
	script := "docker"
	if agent == "crane" {
		script = "k8s"
	}
	fmt.Fprintf(stdout, "%s is in the registry; install scripts of type %s take one of these after --image:\n", pushed.Name, script)
	for _, arch := range slices.Sorted(maps.Keys(pushed.Digests)) {
		fmt.Fprintf(stdout, "  %s (linux/%s)\n", pushed.Digests[arch], arch)
	}
	return exitOK
}
