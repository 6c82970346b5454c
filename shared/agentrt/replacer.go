package agentrt

import "context"

// Replacer puts another build of the agent beside the one that runs, and then
// in its place. It knows the new agent, the candidate, by the id of the update,
// whichever of the two asks; the agent that runs the Replacer is "self". Every
// method may be called again after a crash in its middle.
type Replacer interface {
	// Self names the agent that runs here as the engine knows it. It fails
	// with Unsupported when it cannot be replaced.
	Self(ctx context.Context) (string, error)
	// Start makes a candidate of the build and starts it: with what self was
	// given, the id in place of Config.UpdateID, and so that it is not started
	// again by itself when it ends.
	Start(ctx context.Context, b Build) error
	// Look tells how the candidate does.
	Look(ctx context.Context, id string) (Look, error)
	// Discard stops and removes the candidate, and its build where nothing else
	// needs it. There may be none.
	Discard(ctx context.Context, id string) error
	// Keep has the candidate started again whenever it ends.
	Keep(ctx context.Context, id string) error
	// Succeed stops and removes the incumbent, which Self named, and its build,
	// and gives the candidate its name. It may be gone already.
	Succeed(ctx context.Context, id, incumbent string) error
}

// Build is another build of the agent, whose digest and signature are right.
type Build struct {
	// ID is the update's.
	ID string
	// Archive is its file, Digest that file's: "sha256:" and hex.
	Archive string
	Digest  string
	Version string
}

// Look is how a candidate does.
type Look struct {
	// Alive: it runs, or is started again at once.
	Alive bool
	// Restarts is how often it ended and was started again.
	Restarts int
	// Proven is the version that the candidate proved itself as, where it does
	// not share a disk with the agent that looks; empty until then.
	Proven string
	// Words are for people: how it ended, and what it said last.
	Words string
}
