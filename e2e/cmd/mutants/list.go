package main

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
func mutants() []mutant {
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
		// Who is who.
		{"request-signature", "a request is taken from somebody without the key", []edit{{
			pki + "/pki.go",
			"if err := request.CheckSignature(); err != nil {",
			"if err := error(nil); err != nil {",
		}}, pki, "TestRequestKey", true},
		{"root-pin", "any root will do", []edit{{
			pki + "/pin.go",
			"func(cert *x509.Certificate) bool { return PinOf(cert) == p })",
			"func(cert *x509.Certificate) bool { return isRoot(cert) })",
		}}, pki, "TestIntroductionRefuses", true},
		{"stranger-bytes", "a stranger may send without end", []edit{{
			agentrpc + "/stranger.go",
			"if s.left <= 0 {",
			"if s.left = 1 << 20; false {",
		}}, agentrpc, "TestStrangerIsHungUpOn", false},
		{"clone", "two processes share an identity", []edit{{
			stored + "/sessions.go",
			"was.connected and was.boot_id <> r.boot and was.epoch <> r.over and p.id is not null as held",
			"false as held",
		}}, agents, "TestDuplicateSessionsAreJudgedByTheirBoot", false},
		{"token-once", "a token enrols more than one", []edit{{
			stored + "/agents.go",
			"where id = ? and consumed_at is null and expires_at > ?`, now, agentID, id, now)",
			"where id = ? and expires_at > ?`, now, agentID, id, now)",
		}, {
			stored + "/agents.go",
			"where i.token_hash = ? for update of i, n`",
			"where i.token_hash = ?`",
		}}, agentrpc, "TestEnrolmentTokenWorksForExactlyOne", false},
		{"stream-owner", "an agent carries another's stream", []edit{{
			streams + "/broker.go",
			"case p != nil && p.link.session.AgentID != agentID, late && owner != agentID:",
			"case owner == agentID && false:",
		}}, streams, "TestOnlyTheAgentThatWasAskedMayCome", true},
		// What is written.
		{"epoch", "an old session writes", []edit{{
			reports + "/report.go",
			"case r.Epoch != s.Epoch:",
			"case false:",
		}}, reports, "TestSessionsThatMayNotWriteAreRefusedAndHoldUpNobody", false},
		{"sequence", "a report is written each time it comes", []edit{{
			reports + "/commit.go",
			"if t.sequence > was.Sequence {",
			"if true {",
		}}, reports, "TestAReportIsWrittenOnceHoweverOftenItComes", false},
		{"fact-once", "a fact is written each time it comes", []edit{{
			reports + "/sane.go",
			"if f.Sequence <= above || f.Sequence > maxSequence {",
			"if f.Sequence > maxSequence {",
		}}, reports, "TestFactsAreKeptOnce", false},
		{"foreign-command", "an agent answers another's command", []edit{{
			stored + "/commands.go",
			"Where(\"id = ? and node_id = ? and finished_at is null\", r.ID, nodeID)",
			"Where(\"id = ? and finished_at is null\", r.ID)",
		}, {
			asking + "/command.go",
			"case asked != nodeID:",
			"case false && asked != nodeID:",
		}}, agentrpc, "TestAgentCantAnswerAnothersCommand", false},
		{"diverged", "an agent of another time is sent sets", []edit{{
			delivery + "/delivery.go",
			"return Diverged, \"the agent holds a newer set",
			"return Behind, \"the agent holds a newer set",
		}}, delivery, "TestAnAgentThatHoldsWhatThisDatabaseNeverWantedIsSentNothing", false},
		{"overtaken", "an agent of another time is sent sets once the database has counted past what it holds", []edit{{
			delivery + "/delivery.go",
			"case held.Generation < r.Generation && r.Offered != \"\" && held.Hash != r.Offered:",
			"case false:",
		}}, delivery, "TestAnAgentThatHoldsWhatThisDatabaseNeverWantedIsSentNothing", false},
		{"offers", "the database does not know what it offered", []edit{{
			migrations + "/00019_offered_sets.sql",
			"for each row when (old.generation <> new.generation)",
			"for each row when (false)",
		}}, agentrpc, "TestARestoredDatabaseThatCountedPastWhatAnAgentHoldsIsNotFollowed", false},
		{"adopted offer", "what an agent held when somebody decided keeps it from following", []edit{{
			stored + "/standings.go",
			"\"delete from offered_sets where node_id = $1 and generation = $2\"",
			"\"delete from offered_sets where node_id = $1 and generation = -$2\"",
		}}, delivery, "TestAnOperatorMakesThisControllersSetTheWantedOne", false},
		{"another server's numbers", "every agent is new at every look after a restore on another server", []edit{{
			stored + "/replicas.go",
			"and n.changed < pg_snapshot_xmax(pg_current_snapshot())",
			"",
		}}, agents, "TestRowsOfAnotherServersTransactionsAreNotNewForEver", false},
		{"lost-acknowledgement", "what a hello says is held is not written down", []edit{{
			delivery + "/delivery.go",
			"if standing == Current && !ask.Sure && ask.Held != row.Applied",
			"if false && standing == Current && !ask.Sure && ask.Held != row.Applied",
		}}, agentrpc, "TestASetOnItsWayWhileTheSessionIsReplacedIsAcknowledgedInTheEnd", false},
		{"unsent", "a session goes on that a set could not be sent on", []edit{{
			sending + "/feed.go",
			"l.sender.End(apperr.Wrap(apperr.Unavailable, err,",
			"_ = (apperr.Wrap(apperr.Unavailable, err,",
		}}, sending, "TestASessionEndsThatASetCannotBeSentOn", true},
		{"own-pause", "agents are silent while the controller stands still", []edit{{
			sending + "/sweep.go",
			"if now-d.swept > stalled {",
			"if false {",
		}}, sending, "TestAPauseOfTheControllerIsNobodysSilence", true},
		{"stale-success", "a release runs because an earlier one of its deployment does", []edit{{
			stored + "/outcomes.go",
			" and a.generation = s.generation",
			"",
		}}, delivery, "TestOneNodesStaleSuccessChangesNothingAndHoldsUpNobody", false},
		{"foreign-success", "a node says that another's release runs", []edit{{
			stored + "/outcomes.go",
			"a.node_id = s.node_id and ",
			"",
		}}, delivery, "TestOneNodesStaleSuccessChangesNothingAndHoldsUpNobody", false},
		{"same-list", "a report that says something new is not read", []edit{{
			agentrpc + "/codec.go",
			"if r.bare && r.list == h.remembered",
			"if r.list == h.remembered",
		}}, agentrpc, "TestAReportOfTheSameListIsNotReadAgain", true},
		{"other-spool", "another spool's facts count as committed", []edit{{
			agentrpc + "/session.go",
			"if x.SpoolID != \"\" && hello.GetSpoolId() == x.SpoolID {",
			"if x.SpoolID != \"\" {",
		}}, agentrpc, "TestFactsThatAreCommittedAreKnownToTheNextSession", false},
		{"database-away", "sessions begin without a database", []edit{{
			agentrpc + "/shed.go",
			"if err := s.Accepts(); err != nil {",
			"if err := s.Accepts(); false {",
		}}, agentrpc, "TestNoSessionBeginsWhileTheDatabaseIsAway", false},
		{"database-unnoticed", "a database that is away is noticed late", []edit{{
			"controller/internal/replica/vigil.go",
			"askAfter   = 1500 * time.Millisecond",
			"askAfter   = 15 * time.Second",
		}}, "controller/internal/replica", "TestADatabaseThatAnswersOthersIsNotAsked", true},
	}
}
