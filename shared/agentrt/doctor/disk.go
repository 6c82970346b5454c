package doctor

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/pki"
)

// stReadOnly is ST_RDONLY of statfs(2).
const stReadOnly = 1

// minFree is how much room an agent wants for its files.
const minFree = 64 << 20

// folder looks at the state folder: who may read it, and how much fits in.
func (e *examination) folder() {
	info, err := os.Stat(e.StateDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.fail("folder", "Name the agent's folder with --state-dir, or install the agent: "+e.Again, "%s is not there", e.StateDir)
		return
	case err != nil:
		e.fail("folder", "Run this as the user that the agent runs as (root, where the install script set it up)", "%v", err)
		return
	case !info.IsDir():
		e.fail("folder", "Name the agent's folder with --state-dir", "%s is not a folder", e.StateDir)
		return
	case info.Mode().Perm()&0o077 != 0:
		e.fail("folder", "chmod 700 "+e.StateDir, "%s can be read by others (mode %#o); it holds the agent's key", e.StateDir, info.Mode().Perm())
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(e.StateDir, &disk); err != nil {
		e.fail("folder", "", "how much room there is can't be told: %v", err)
		return
	}
	free := disk.Bavail * uint64(disk.Bsize)
	switch {
	case free < minFree:
		e.fail("folder", "Make room: the agent can't take assignments without", "%s has %d MiB of room left", e.StateDir, free>>20)
	case disk.Files > 0 && disk.Ffree == 0:
		e.fail("folder", "Remove files: the agent can't take assignments without", "the file system of %s has no room for another file", e.StateDir)
	case disk.Flags&stReadOnly != 0:
		e.fail("folder", "Mount it writable", "the file system of %s is read-only", e.StateDir)
	case info.Mode().Perm()&0o077 == 0:
		e.ok("folder", "%s, %d MiB free", e.StateDir, free>>20)
	}
}

// identity reads who the agent is, and reports whether there is a controller to
// go to.
func (e *examination) identity() bool {
	if _, err := os.Stat(e.StateDir); err != nil {
		return false
	}
	seen, err := state.Inspect(e.StateDir)
	if err != nil {
		e.fail("identity", "Run this as the user that the agent runs as; if it is that user, "+e.Again, "what the agent has on disk can't be read: %v", err)
		return false
	}
	if seen.EnrolmentError != "" {
		e.fail("enrolment", e.Again, "%s", seen.EnrolmentError)
	}
	switch {
	case seen.Deleted:
		e.fail("identity", "If this machine is to be a node again: "+e.Again, "this agent's node was deleted; it will never connect again")
		return false
	case seen.Revoked != "":
		e.fail("identity", "If that was not meant: "+e.Again, "this agent was revoked or its node deleted (%s); it will never connect again", seen.Revoked)
		return false
	case seen.Enrolled:
		e.controller, e.trust, e.own = seen.Identity.Controller, seen.Identity.Trust, seen.Identity.Own
		e.node = seen.Identity.NodeName
		e.ok("identity", "agent %s of node %q, controller %s, trusts %d root(s)", seen.Identity.AgentID, e.node, e.controller, len(e.trust.Roots()))
		e.certificate()
		return true
	case seen.Asked:
		e.controller, e.node = seen.Enrolment.Controller, seen.Enrolment.NodeName
		e.introduction = pki.Introduce(seen.Enrolment.Pin, e.Now)
		e.ok("identity", "not enrolled yet: node %q, controller %s; the agent enrols when it runs, with a token that works once and for ten minutes", e.node, e.controller)
		return true
	default:
		e.fail("identity", e.Again, "this agent is not enrolled")
		return false
	}
}

func (e *examination) certificate() {
	leaf, now := e.own.Leaf, e.Now()
	until := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.After(leaf.NotAfter):
		e.ok("certificate", "expired at %s; the agent asks for another when it connects", until)
	case now.Before(leaf.NotBefore):
		e.fail("certificate", "Set this machine's clock", "good from %s, and this machine's clock says %s",
			leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	default:
		e.ok("certificate", "good until %s", until)
	}
}

// process says what the agent that runs here makes of it.
func (e *examination) process() {
	if _, err := os.Stat(e.StateDir); err != nil {
		return
	}
	until, err := state.HealthyUntil(e.StateDir)
	if err != nil {
		e.fail("agent", "", "%v", err)
		return
	}
	at, trouble, err := state.Trouble(e.StateDir)
	switch {
	case until.After(e.Now()):
		e.ok("agent", "it runs and is connected")
	case err == nil && trouble != "":
		e.fail("agent", "", "it has no session; at %s it said: %s", at.Format(time.RFC3339), trouble)
	default:
		e.fail("agent", "Start it, or look at its log", "it has no session; it does not run, or began a moment ago")
	}
}
