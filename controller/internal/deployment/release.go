package deployment

import (
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Trigger says what made a release.
type Trigger string

// Triggers of releases.
const (
	// TriggerStart: somebody started the deployment. Releases of an earlier
	// controller do not tell how.
	TriggerStart Trigger = "start"
	// TriggerUser: a person who is logged in started the deployment.
	TriggerUser Trigger = "user"
	// TriggerAPIToken: a program with a person's token did.
	TriggerAPIToken Trigger = "api-token"
	// TriggerDeployToken: continuous integration with the deployment's token
	// did, and TriggerOIDC: with an identity token of its own.
	TriggerDeployToken Trigger = "deployment-token"
	TriggerOIDC        Trigger = "oidc"
	// TriggerRollback: somebody wanted the content of an earlier release again.
	TriggerRollback Trigger = "rollback"
	// TriggerFallback: the deployment that was to take the prefix over was
	// deleted before it succeeded, so what served before is wanted again.
	TriggerFallback Trigger = "fallback"
)

// Outcome is how a release ended, or how far it is.
type Outcome string

// Outcomes of releases.
const (
	// OutcomePending: its node has not begun with it.
	OutcomePending    Outcome = "pending"
	OutcomeInProgress Outcome = "in-progress"
	OutcomeSuccessful Outcome = "successful"
	OutcomeFailed     Outcome = "failed"
	// OutcomeSuperseded: something else was wanted under the prefix before it
	// had ended.
	OutcomeSuperseded Outcome = "superseded"
)

// Final reports whether nothing follows the outcome.
func (o Outcome) Final() bool { return o != OutcomePending && o != OutcomeInProgress }

// Release is what one start of a deployment froze. It never changes but for its
// outcome.
type Release struct {
	ID           uuid.UUID
	DeploymentID uuid.UUID
	// Number counts from 1 within the deployment.
	Number int64
	// Spec is complete in itself and holds no credentials.
	Spec spec.Deployment
	// ConfigHash is of everything in Spec but the tags and digests of images; ""
	// of releases of an earlier controller.
	ConfigHash string
	Trigger    Trigger
	CreatedAt  time.Time
	CreatedBy  string
	// Actor is who made it: a person, or what continuous integration came with.
	Actor Maker
	// Plan is what the node was to do when it was started by a plan; nil
	// otherwise.
	Plan *Plan
	// RollbackOf is the number of the release whose content this one has; 0
	// when it was rendered anew.
	RollbackOf int64
	Outcome    Outcome
	// BeganAt is when the node was first seen to be at it; the zero time until
	// then, and when that was only heard together with the outcome.
	BeganAt time.Time
	// FinishedAt is the zero time until the outcome is final.
	FinishedAt time.Time
	// Failure is the failure card of a failed release; nil otherwise.
	Failure *workload.Failure
	// Digests are what the node resolved the images to, "sha256:…" by
	// instance; those of images of its init and configuration containers are
	// under OtherImage. It is empty until the outcome is final, and when the
	// node's agent did not tell.
	Digests map[string]string
	// Hold is nil unless the release must not be started again.
	Hold *Hold
}

// Maker names who made a release.
type Maker struct {
	Kind actor.Kind
	Name string
}

// Hold says that a release must not be started again, who said so and why.
type Hold struct {
	Reason string
	At     time.Time
	// By is the reference of who holds it, ByName the name.
	By     string
	ByName string
}

// Assignment is what one prefix of a node should run.
type Assignment struct {
	Prefix string
	// Generation is the node's at which this last changed.
	Generation   uint64
	DeploymentID uuid.UUID
	// ReleaseID and Deployment are set unless the prefix is to be emptied.
	ReleaseID  uuid.UUID
	Deployment *spec.Deployment
	// Tombstone names the act that wants the prefix emptied; "" otherwise.
	Tombstone string
	// RemovalConfirmed is set when who wanted this was told how many workloads
	// it removes, or could not but know.
	RemovalConfirmed bool
	// ExpectedPlan is the hash, as its agent has it, of the only plan by which
	// a release that was not begun yet may be applied; "" for any.
	ExpectedPlan string
}

// Set is what a node should run: everything, or what differs from a set that
// its agent holds.
type Set struct {
	// Lineage names the database that generations are counted in.
	Lineage string
	// Generation rises with every change of the set.
	Generation uint64
	// Hash identifies the whole resulting set.
	Hash string
	// Assignments are all, or those that a change adds or replaces.
	Assignments []Assignment
	// Base is the set that this is a change to; zero when this is everything.
	Base Held
	// Forgotten are the prefixes that a change takes out.
	Forgotten []string
	// Replaces is the lineage whose set this one was decided to replace.
	Replaces string
}
