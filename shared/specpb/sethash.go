package specpb

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// SetHash returns the SHA-256, in lower-case hex, that identifies an
// assignment set. It covers what the node is asked to be, through the hashes
// of the workloads, and neither registry credentials nor the order of the
// assignments. The set's own set_hash is not looked at.
//
// The hashed text is a sequence of strings, each written as its length in
// bytes in decimal, a colon, and its bytes; numbers are written in decimal
// first:
//
//	"fairlead-set-1", lineage, generation
//	then for every assignment, in ascending byte order of prefix:
//	  "assignment", prefix, generation
//	  of a deployment: "deployment", id, release, number of workloads,
//	    and for every workload in its order: "workload", instance id, hash
//	  of a tombstone: "tombstone", deployment id, act
//	  of neither: "nothing"
func SetHash(set *agentv1.AssignmentSet) string {
	w := setWriter{sha256.New()}
	w.write("fairlead-set-1", set.GetLineage(), decimal(set.GetGeneration()))
	assignments := slices.SortedStableFunc(slices.Values(set.GetAssignments()), func(a, b *agentv1.Assignment) int {
		return cmp.Compare(a.GetPrefix(), b.GetPrefix())
	})
	for _, a := range assignments {
		w.write(assignmentWords(a)...)
	}
	return hex.EncodeToString(w.Sum(nil))
}

// assignmentWords is what the hash sees of an assignment.
func assignmentWords(a *agentv1.Assignment) []string {
	words := []string{"assignment", a.GetPrefix(), decimal(a.GetGeneration())}
	switch desired := a.GetDesired().(type) {
	case *agentv1.Assignment_Deployment:
		d := desired.Deployment
		words = append(words, "deployment", d.GetId(), strconv.FormatInt(d.GetRelease(), 10), strconv.Itoa(len(d.GetWorkloads())))
		for _, workload := range d.GetWorkloads() {
			words = append(words, "workload", workload.GetInstanceId(), workload.GetHash())
		}
		return words
	case *agentv1.Assignment_Tombstone:
		return append(words, "tombstone", desired.Tombstone.GetDeploymentId(), desired.Tombstone.GetAct())
	default:
		return append(words, "nothing")
	}
}

type setWriter struct{ hash.Hash }

func (w setWriter) write(words ...string) {
	for _, word := range words {
		w.Write([]byte(strconv.Itoa(len(word)) + ":" + word))
	}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
