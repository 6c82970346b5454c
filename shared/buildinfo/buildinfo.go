// Package buildinfo holds what the linker stamped into the binary.
package buildinfo

import (
	"fmt"
	"runtime"
)

// Set by -ldflags "-X fairlead.dev/shared/buildinfo.version=… -X ….commit=…";
// never written by the program.
var (
	version = "0.0.0-dev"
	commit  = "unknown"
	// edgeArtifact is the digest of the edge's archive for the program's
	// architecture.
	edgeArtifact = ""
)

// Version returns the product version, e.g. "0.1.0" or "0.0.0-dev".
func Version() string { return version }

// Commit returns the commit the binary was built from, or "unknown".
func Commit() string { return commit }

// EdgeArtifact returns the digest ("sha256:…") of the image archive of the edge
// proxy that was built together with this binary; empty when none was.
func EdgeArtifact() string { return edgeArtifact }

// Line returns one line that identifies the named program.
func Line(program string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)",
		program, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
