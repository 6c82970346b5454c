package main

// linkMutants are those of who is who, and of what a controller takes and sends.
func linkMutants() []mutant {
	return []mutant{
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
		{"recovery-key", "an identity is given to whoever knows its id", []edit{{
			agents + "/renew.go",
			"if err != nil || !bytes.Equal(a.KeyHash, keyHash) {",
			"if err != nil || !bytes.Equal(keyHash, keyHash) {",
		}}, agents, "TestAgentRecoversAfterALongAbsenceWithItsKeyOnly", false},
		{"revoked", "a revoked agent's session goes on", []edit{{
			agents + "/standing.go",
			"case t.Gone:",
			"case t.Gone && false:",
		}}, agentrpc, "TestRevocationEndsTheSessionAlsoWhenTheNoticeIsLost", false},
		{"retired-root", "a session goes on that a retired root proves", []edit{{
			agentrpc + "/trust.go",
			"case !slices.ContainsFunc(accepted, e.root.Equal):",
			"case false && !slices.ContainsFunc(accepted, e.root.Equal):",
		}}, agentrpc, "TestASessionEndsWithItsCertificateAndItsRoot", true},
		{"quarantine", "an agent in quarantine is sent work", []edit{{
			sending + "/feed.go",
			"		if l.quarantined() {\n",
			"		if false {\n",
		}}, agentrpc, "TestAnAgentInQuarantineIsSentNothingUntilItIsReadmitted", false},
		{"admission", "everybody may come in at once", []edit{{
			agentrpc + "/admission.go",
			"case full || !a.limiter.AllowN(now, 1):",
			"case false:",
		}}, agentrpc, "TestAStormIsSpreadAndNobodyStarves", true},
		// What is written.
		{"epoch", "an old session writes", []edit{{
			reports + "/report.go",
			"case r.Epoch != s.Epoch:",
			"case false:",
		}}, reports, "TestSessionsThatMayNotWriteAreRefusedAndHoldUpNobody", false},
		{"acknowledged-before", "a report is acknowledged that is not committed", []edit{{
			reports + "/recorder.go",
			"		err := r.commit(ctx, batch)\n		switch {\n		case err == nil:\n",
			"		err := r.commit(ctx, batch)\n		switch {\n		case true:\n",
		}}, reports, "TestReportsWaitForADatabaseThatIsAway|TestWhatIsAcknowledgedIsStored", false},
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
