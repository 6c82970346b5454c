package specpb

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// SetPart is one assignment as SetHash sees it, with what it asks for in a
// form that can be kept: so a large set can be hashed without having it.
type SetPart struct {
	Prefix     string
	Generation uint64
	// Desired is a DeploymentPart or a TombstonePart.
	Desired string
}

// DeploymentPart returns what SetHash sees of a deployment.
func DeploymentPart(d *agentv1.Deployment) string {
	var text strings.Builder
	writeWords(&text, "deployment", d.GetId(), strconv.FormatInt(d.GetRelease(), 10), strconv.Itoa(len(d.GetWorkloads())))
	for _, w := range d.GetWorkloads() {
		writeWords(&text, "workload", w.GetInstanceId(), w.GetHash())
	}
	return text.String()
}

// TombstonePart returns what SetHash sees of a tombstone.
func TombstonePart(deploymentID, act string) string {
	var text strings.Builder
	writeWords(&text, "tombstone", deploymentID, act)
	return text.String()
}

// HashParts returns the SetHash of the set that the parts make up.
func HashParts(lineage string, generation uint64, parts []SetPart) string {
	sum := sha256.New()
	writeWords(sum, "fairlead-set-1", lineage, decimal(generation))
	sorted := slices.SortedStableFunc(slices.Values(parts), func(a, b SetPart) int { return cmp.Compare(a.Prefix, b.Prefix) })
	for _, p := range sorted {
		writeWords(sum, "assignment", p.Prefix, decimal(p.Generation))
		_, _ = io.WriteString(sum, p.Desired)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// writeWords writes to what never fails.
func writeWords(w io.Writer, words ...string) {
	for _, word := range words {
		_, _ = io.WriteString(w, strconv.Itoa(len(word))+":"+word)
	}
}
