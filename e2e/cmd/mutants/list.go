package main

import "slices"

// mutant is a guard that is switched off. Where two guards stand one behind the
// other, both are.
type mutant struct {
	name string
	// what then holds.
	what  string
	edits []edit
	// test is the test of package pkg that must fail; alternatives are
	// separated by |.
	pkg, test string
	// quick tells that it needs no database.
	quick bool
}

// edit is a text of a file, and what takes its place.
type edit struct{ file, guard, without string }

const (
	specpb   = "shared/specpb"
	agentrt  = "shared/agentrt"
	commands = "shared/agentrt/internal/command"
	pki      = "shared/pki"
	agentrpc = "controller/internal/agentrpc"
	agents   = "controller/internal/agent"
	reports  = "controller/internal/report"
	delivery = "controller/internal/deployment"
	streams  = "controller/internal/bulk"
	stored   = "controller/internal/postgres"
	sending  = "controller/internal/dispatch"
	asking   = "controller/internal/command"

	migrations = "migrations"
)

// mutants are all of them.
func mutants() []mutant { return slices.Concat(agentMutants(), linkMutants()) }

// agentMutants are those of what an agent decides by itself.
func agentMutants() []mutant {
	return []mutant{
		// How an agent is replaced.
		{"unsigned build", "a build that nobody signed takes the agent's place", []edit{{
			agentrt + "/updater.go",
			"if err := artifact.Verify(order.GetSignature(), keys); err != nil {",
			"if err := artifact.Verify(order.GetSignature(), keys); false {",
		}}, agentrt, "TestOrdersThatAreRefused", true},
		{"downgrade", "an older build takes the agent's place unasked", []edit{{
			agentrt + "/updater.go",
			"!order.GetDowngrade() && release.Older",
			"false && release.Older",
		}}, agentrt, "TestOrdersThatAreRefused", true},
		{"echo before the old goes", "the old agent goes before the new one's work was echoed", []edit{{
			agentrt + "/updater.go",
			"		case <-u.echo:\n",
			"		case <-time.After(0):\n",
		}}, agentrt, "TestTheNewAgentTakesOverOnceItHasProvenItself|TestTheOldAgentTakesBack", true},
		{"taking back", "nobody serves when the new agent ends", []edit{{
			agentrt + "/standby.go",
			"case gone >= goneLooks:",
			"case false:",
		}}, agentrt, "TestTheOldAgentTakesBack|TestWhateverEndedOneAgentServes", true},

		// What an agent takes.
		{"lineage", "a set of another database is taken", []edit{{
			specpb + "/applyset.go",
			"case held.GetLineage() == \"\", held.GetLineage() == received.GetLineage():",
			"default:",
		}}, specpb, "TestApplySet", true},
		{"stale", "an older set is taken", []edit{{
			specpb + "/applyset.go",
			"case received.GetGeneration() <= held.GetGeneration():",
			"case false:",
		}}, specpb, "TestApplySet", true},
		{"expected-plan", "a release is applied though its node is not as it was planned for", []edit{{
			agentrt + "/internal/reconcile/expect.go",
			"if err == nil && plan.Hash() != t.ExpectedPlan {",
			"if err == nil && plan.Hash() == \"\" {",
		}}, agentrt + "/internal/reconcile", "TestAStalePlanTouchesNothing", true},
		{"begun-plan", "a release that was begun is not finished after a restart, since the node is not any more as it was planned for", []edit{{
			agentrt + "/internal/reconcile/expect.go",
			"if t.ExpectedPlan == \"\" || r.hasBegun(t) {",
			"if t.ExpectedPlan == \"\" {",
		}}, agentrt + "/internal/reconcile", "TestWhatWasBegunIsFinishedWhateverAPlanSaysThen", true},
		{"base", "a change is applied to what it is no change to", []edit{{
			specpb + "/applyset.go",
			"if held.GetLineage() != delta.GetLineage() || held.GetGeneration() != delta.GetBaseGeneration() || held.GetSetHash() != delta.GetBaseSetHash() {",
			"if false {",
		}}, specpb, "TestApplySet", true},
		{"set-hash", "a set that is not what it claims is taken", []edit{{
			specpb + "/applyset.go",
			"if hash := SetHash(result); hash != received.GetSetHash() {",
			"if hash := SetHash(result); false {",
		}}, specpb, "TestApplySet", true},
		{"tombstone-only", "a prefix is forgotten that had no tombstone", []edit{{
			specpb + "/applyset.go",
			"if result[prefix].GetTombstone() == nil {",
			"if false {",
		}}, specpb, "TestApplySet", true},
		{"mass-removal", "any number of workloads is removed at once", []edit{{
			specpb + "/removal.go",
			"return r.Workloads > freeRemovals && r.Workloads*freeRemovalsOf > r.Held",
			"return false",
		}}, specpb, "TestMassRemoval", true},
		{"disk-before-act", "a set is acted on that is not on the disk", []edit{{
			agentrt + "/assignments.go",
			"ack.Refusal, ack.Detail = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STORAGE, err.Error()\n\t\treturn ack",
			"_ = err",
		}}, agentrt, "TestASetThatCannotBeStoredIsNotTaken", true},
		// What an agent does.
		{"command-journal", "a command is carried out each time it comes", []edit{{
			commands + "/command.go",
			"if result, known := e.journal.known(id); known {",
			"if result, known := e.journal.known(id); false && known {",
		}}, commands, "TestACommandIsCarriedOutOnceHoweverOftenItComes|TestAKilledAgentDoesNotRepeatWhatItHadBegun", true},
		{"command-begin", "a command begins before that is on the disk", []edit{{
			commands + "/journal.go",
			"if err := j.write(true, lines...); err != nil {",
			"if err := error(nil); err != nil {",
		}}, commands, "TestNothingBeginsThatCannotBeNoted|TestAKilledAgentDoesNotRepeatWhatItHadBegun", true},
		{"full-spool", "an end that the full disk does not take is never told", []edit{{
			agentrt + "/internal/exits/exits.go",
			"d.forget(ends, next)",
			"_ = ends",
		}}, agentrt + "/internal/exits", "TestAnEndThatTheSpoolDoesNotTakeIsToldWhenItDoes", true},
		{"command-deadline", "a command begins after its time", []edit{{
			commands + "/command.go",
			"if d := c.GetDeadline(); d != nil && !e.config.Now().Before(d.AsTime()) {",
			"if d := c.GetDeadline(); false && d != nil {",
		}}, commands, "TestAnExpiredCommandIsNotBegun", true},
		{"precondition", "a command is carried out on another container than was meant", []edit{{
			commands + "/command.go",
			"return e.check.Check(ctx, c.GetPrecondition(), id)",
			"return nil",
		}}, commands, "TestWhatMustHoldIsCheckedWhenACommandBegins", true},
		{"result-resend", "a result that was lost on its way is not told again", []edit{{
			commands + "/result.go",
			"		w.sent = false\n",
			"		_ = w\n",
		}}, commands, "TestResultsAreSentUntilTheyAreAcknowledged", true},
		{"update-once", "an agent is replaced as often as the order comes", []edit{{
			commands + "/command.go",
			"if result, known := e.journal.known(id); known {",
			"if result, known := e.journal.known(id); false && known {",
		}}, commands, "TestAnUpdateIsTakenOnOnce", true},
		{"leftover", "what nobody assigned is not told apart", []edit{{
			agentrt + "/observe.go",
			"c.Leftover = known && c.Managed",
			"c.Leftover = false && known && c.Managed",
		}}, agentrt, "TestContainersThatNothingIsAssignedToAreLeftOver", true},
		{"latest-value", "what a deployment was takes the place of what it is", []edit{{
			agentrt + "/internal/outbox/outbox.go",
			"if waits && old.GetGeneration() > s.GetGeneration() {",
			"if waits && old.GetGeneration() > s.GetGeneration() && false {",
		}}, agentrt + "/internal/outbox", "TestStatusesKeepTheirLatestValue", true},
		{"spool-bound", "a spool grows without end", []edit{{
			agentrt + "/internal/spool/append.go",
			"for s.size() > s.config.MaxBytes && len(s.segments) > 1 {",
			"for false {",
		}}, agentrt + "/internal/spool", "TestAFullSpoolDropsTheOldestAndCountsThem", true},
		{"back-off", "a connection that is refused lets the back-off begin anew", []edit{{
			agentrt + "/link.go",
			"if healthy >= l.resetAfter {",
			"if healthy >= 0 {",
		}}, agentrt, "TestOnlyHealthResetsTheBackOff", true},
		{"silence", "a session goes on whose controller says nothing", []edit{{
			agentrt + "/session.go",
			"silence > silentPeriods*s.period {",
			"silence > silentPeriods*s.period && false {",
		}}, agentrt, "TestSilenceEndsASession", false},
		{"renewal-proof", "a certificate is used that no session was opened with", []edit{{
			agentrt + "/renew.go",
			"if err := next.open(leave); err != nil {",
			"if err := next.open(leave); false {",
		}}, agentrt, "TestARenewedCertificateThatIsNotAcceptedCostsNoSession", true},
	}
}
