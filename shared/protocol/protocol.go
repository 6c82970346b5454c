// Package protocol names what the two ends of the agent link agree on besides
// the messages themselves: the versions of the protocol and its optional
// behaviours.
//
// Messages only grow, so a version is raised only for what an older peer would
// get wrong rather than miss. Whatever it would merely miss is a capability:
// each side announces what it has, in Hello and Welcome, and is sent nothing
// that it did not announce.
package protocol

// Versions of the protocol this build speaks.
const (
	VersionMin = 1
	VersionMax = 1
)

// Capabilities.
const (
	// Delta: the agent takes AssignmentSets that differ from a base.
	Delta = "delta"
	// Spool: the agent sends facts, numbered in a spool; the controller
	// acknowledges them.
	Spool = "spool"
	// CommandAck: the agent keeps results until they are acknowledged, over
	// its own restarts.
	CommandAck = "command-ack"
	// Ping: the agent answers pings.
	Ping = "ping"
	// Bulk: the agent dials a second connection for logs and artifacts.
	Bulk = "bulk"
	// Exec: the agent can run commands in containers.
	Exec = "exec"
	// Inspect: the agent answers Inspect.
	Inspect = "inspect"
	// Trust: the agent's roots can be changed.
	Trust = "trust"
	// Quarantine: the agent understands that it is in quarantine.
	Quarantine = "quarantine"
	// Policy: the agent heeds the policy of a deployment.
	Policy = "policy"
	// Plan: the agent tells what a deployment would change on its node.
	Plan = "plan"
	// Drift: the agent notices what somebody else changes of what it made, and
	// puts it back where the policy says so.
	Drift = "drift"
	// Digests: the controller takes what images stood for.
	Digests = "digests"
	// Adopt: the agent can take over containers that somebody else made.
	Adopt = "adopt"
	// Hooks: the agent runs the hooks of workloads.
	Hooks = "hooks"
	// Update: the agent can replace itself by another build.
	Update = "update"
)
