// Command crane is the agent for Kubernetes. It does not serve nodes yet: the
// program says so rather than pretending.
package main

import (
	"fmt"
	"io"
	"os"

	"fairlead.dev/shared/buildinfo"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "version" {
		fmt.Fprintln(stdout, buildinfo.Line("crane"))
		return 0
	}
	fmt.Fprint(stderr, "crane is Fairlead's agent for Kubernetes; this version cannot serve a cluster yet\n\nusage: crane version\n")
	return 2
}
