package app

import (
	"context"
	"fmt"
	"io"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/shared/agentrt/doctor"
	"fairlead.dev/shared/buildinfo"
)

// Diagnose finds out what keeps the agent from working, prints it line by line,
// and reports whether all is well. It changes nothing.
func Diagnose(ctx context.Context, config Config, out io.Writer) (healthy bool, err error) {
	if _, err := fmt.Fprintln(out, buildinfo.Line("crane")); err != nil {
		return false, err
	}
	return doctor.Print(ctx, doctor.Config{
		StateDir: config.StateDir,
		Engine:   config.engineLine,
		EngineFix: "In a pod the agent needs its service account and its roles, which the install script makes; " +
			"outside of one name a kubeconfig in KUBECONFIG",
		Again: "make a new install script for the node and run it against this cluster",
	}, out)
}

// engineLine is what there is to know about the cluster.
func (c Config) engineLine(ctx context.Context) (string, error) {
	reach, err := kube.Connect(c.Kubeconfig)
	if err != nil {
		return "", err
	}
	driver, err := kube.New(reach, kube.Options{Namespaces: c.Namespaces})
	if err != nil {
		return "", err
	}
	info, err := driver.Info(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the API server at %s: %w", reach.Host, err)
	}
	return fmt.Sprintf("Kubernetes %s at %s, %s/%s", info.Version, reach.Host, info.OS, info.Architecture), nil
}
