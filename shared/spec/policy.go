package spec

// OnFailure says what becomes of a release whose new containers do not become
// healthy.
type OnFailure string

// Values of OnFailure. What fails before anything new serves, such as a pull
// or an init container, leaves the previous release in place whatever the
// policy is.
const (
	// OnFailureRollback puts the previous release back.
	OnFailureRollback OnFailure = "rollback"
	// OnFailureKeep puts the new containers in place as they are; the release
	// has failed.
	OnFailureKeep OnFailure = "keep"
	// OnFailureNotify puts the new containers in place as they are and only
	// warns; the release has succeeded.
	OnFailureNotify OnFailure = "notify"
)

// Values returns the permitted words, for schemas and validation.
func (OnFailure) Values() []OnFailure {
	return []OnFailure{OnFailureRollback, OnFailureKeep, OnFailureNotify}
}

// Drift says what becomes of what somebody else changed of what a release made.
type Drift string

// Values of Drift.
const (
	// DriftReport tells of it and leaves it as it is, until the next start.
	DriftReport Drift = "report"
	// DriftCorrect puts it back as the release says, and tells of it.
	DriftCorrect Drift = "correct"
)

// Values returns the permitted words, for schemas and validation.
func (Drift) Values() []Drift { return []Drift{DriftReport, DriftCorrect} }

// Policy says how a release takes over from the one before it. It is about the
// act and not about the content: it is not part of any hash. The zero value
// leaves everything to the agent.
type Policy struct {
	// OnFailure is OnFailureRollback when it is empty.
	OnFailure OnFailure
	// HealthWindowSeconds bounds how long a container may take to become
	// healthy, unless its expectedState has a timeout of its own; 0 means the
	// agent's default.
	HealthWindowSeconds int32
	// DrainSeconds is how long the old containers go on after the new ones
	// have their names and routes, before they are told to stop; 0 means not
	// at all. Their grace period comes after it.
	DrainSeconds int32
	// Parallelism is how many workloads are brought up at once, in their
	// order: one waits until all but Parallelism-1 of those before it are
	// ready. 0 means as many as the agent likes, but that a workload waits
	// for those before it that can tell whether they are healthy.
	Parallelism int32
	// Drift is DriftReport when it is empty.
	Drift Drift
}

// Limits of a Policy.
const (
	MaxHealthWindowSeconds = 24 * 60 * 60
	MaxDrainSeconds        = 60 * 60
	MaxParallelism         = MaxWorkloads
)

// ValidatePolicy checks a policy on its own, as when one is edited. Paths start
// with path.
func ValidatePolicy(path string, policy Policy) Problems {
	var p Problems
	checkPolicy(check{&p, path}, policy)
	return p
}

func checkPolicy(c check, policy Policy) {
	if policy.OnFailure != "" {
		oneOf(c.at("onFailure"), &policy.OnFailure)
	}
	if policy.Drift != "" {
		oneOf(c.at("drift"), &policy.Drift)
	}
	within := func(field string, value, most int32) {
		c.at("%s", field).that(value >= 0 && value <= most, value, "must be 0 to %d", most)
	}
	within("healthWindow", policy.HealthWindowSeconds, MaxHealthWindowSeconds)
	within("drain", policy.DrainSeconds, MaxDrainSeconds)
	within("parallelism", policy.Parallelism, MaxParallelism)
}
