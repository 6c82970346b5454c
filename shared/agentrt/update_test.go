package agentrt_test

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/release"
)

const (
	phaseProving    = agentv1.UpdatePhase_UPDATE_PHASE_PROVING
	phaseTakingOver = agentv1.UpdatePhase_UPDATE_PHASE_TAKING_OVER
	phaseSuccessful = agentv1.UpdatePhase_UPDATE_PHASE_SUCCESSFUL
	phaseFailed     = agentv1.UpdatePhase_UPDATE_PHASE_FAILED
)

// TestTheNewAgentTakesOverOnceItHasProvenItself: the old one serves until then,
// and goes once the controller has echoed the new one's work.
func TestTheNewAgentTakesOverOnceItHasProvenItself(t *testing.T) {
	m := newHost(t)
	old := m.run(incumbent)
	first := m.controller.Welcome(t)
	if !has(first.Hello.GetCapabilities(), protocol.Update) {
		t.Error("the agent does not say that it can be updated")
	}
	if r := m.send(t, first, "u1", m.order(t)); r.GetError() != "" {
		t.Fatal(r)
	}
	awaitUpdate(t, first, phaseProving)
	awaitUpdate(t, first, phaseTakingOver)
	first.Over(t)
	for _, said := range first.Messages() {
		if said.GetLeaving() != nil {
			t.Error("the old agent said good-bye although another comes in its place")
		}
	}
	second := m.controller.Accept(t)
	if second.Hello.GetBootId() == first.Hello.GetBootId() || second.AgentID != first.AgentID {
		t.Error("it is not another process of the same agent")
	}
	if u := second.Hello.GetUpdate(); u.GetId() != "u1" || u.GetPhase() != phaseTakingOver {
		t.Errorf("the new agent says %v", u)
	}
	select {
	case <-old.ended:
		t.Fatal("the old agent went before the new one was welcomed")
	default:
	}
	second.Welcome(t, 0)
	if u := awaitUpdate(t, second, phaseSuccessful); u.GetToVersion() != buildinfo.Version() || u.GetError() != "" {
		t.Errorf("it says %v", u)
	}
	if err := old.wait(); err != nil {
		t.Errorf("the old agent ended with %v", err)
	}
	if !m.done("keep u1") || !m.done("succeed u1") {
		t.Errorf("the engine was asked for %v", m.did)
	}
	for _, name := range []string{"update.tar", "update.proof"} {
		if m.has(name) {
			t.Errorf("%s is left", name)
		}
	}

	// And the new one can be updated as well.
	if r := m.send(t, second, "u2", m.order(t)); r.GetError() != "" {
		t.Fatal(r)
	}
	third := m.controller.Welcome(t)
	awaitUpdate(t, third, phaseSuccessful)
	if m.agent("u1") != nil {
		t.Error("the agent of the first update is still there")
	}
}

// TestABadBuildStrandsNoNode: the old agent serves on and says why.
func TestABadBuildStrandsNoNode(t *testing.T) {
	for name, test := range map[string]struct {
		build  build
		change func(*testing.T, *host, *agentv1.Update)
		says   string
	}{
		"it exits":           {build: exits, says: "ended before it proved itself: it ended"},
		"it hangs":           {build: hangs, says: "did not prove itself within"},
		"it can't be loaded": {build: broken, says: "can't be loaded"},
		"no echo of its work": {build: good, says: "did not prove itself within", change: func(_ *testing.T, m *host, _ *agentv1.Update) {
			m.controller.RefuseProofs(true)
		}},
		"truncated": {build: good, says: "what came is sha256:", change: func(_ *testing.T, m *host, o *agentv1.Update) {
			m.controller.ServeArtifact(o.GetDigest(), []byte("a bui"))
		}},
		"another version than was signed": {build: good, says: "says that it is", change: func(_ *testing.T, m *host, o *agentv1.Update) {
			o.Version = "99.0.0"
			o.Signature = release.Artifact{Path: o.GetPath(), Version: o.GetVersion(), SHA256: o.GetDigest()[7:], Size: int64(o.GetSize())}.Sign(m.key)
		}},
		"another size than was signed": {build: good, says: "not the 9 that were signed", change: func(_ *testing.T, m *host, o *agentv1.Update) {
			o.Size = 9
			o.Signature = release.Artifact{Path: o.GetPath(), Version: o.GetVersion(), SHA256: o.GetDigest()[7:], Size: 9}.Sign(m.key)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newHost(t)
			m.build = test.build
			m.run(incumbent)
			s := m.controller.Welcome(t)
			order := m.order(t)
			if test.change != nil {
				test.change(t, m, order)
			}
			if r := m.send(t, s, "u1", order); r.GetError() != "" {
				t.Fatal(r)
			}
			if u := awaitUpdate(t, s, phaseFailed); !strings.Contains(u.GetError(), test.says) {
				t.Errorf("it says %q, want %q", u.GetError(), test.says)
			}
			if m.agent("u1") != nil || m.has("update.tar") {
				t.Error("something of the update is left")
			}
			// Served on: it works in the same session, and can be updated.
			m.controller.RefuseProofs(false)
			m.build = good
			if r := m.send(t, s, "u2", m.order(t)); r.GetError() != "" {
				t.Fatal(r)
			}
			awaitUpdate(t, m.controller.Welcome(t), phaseSuccessful)
		})
	}
}

// TestTheOldAgentTakesBack: what was well beside the old agent may fail in its
// place.
func TestTheOldAgentTakesBack(t *testing.T) {
	for name, test := range map[build]string{
		diesLater:  "ended after it took over",
		stuckLater: "got no session with the controller within",
		muteLater:  "got no session with the controller within",
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			m := newHost(t)
			m.build = name
			m.run(incumbent)
			first := m.controller.Welcome(t)
			if r := m.send(t, first, "u1", m.order(t)); r.GetError() != "" {
				t.Fatal(r)
			}
			again := m.controller.Welcome(t)
			if again.Hello.GetBootId() != first.Hello.GetBootId() {
				t.Error("it is not the old agent that is back")
			}
			if u := again.Hello.GetUpdate(); u.GetPhase() != phaseFailed || !strings.Contains(u.GetError(), test) {
				t.Errorf("it says %v", u)
			}
			if !m.done("discard u1") || m.agent("u1") != nil {
				t.Error("the new agent is still there")
			}
			again.Assign(t, set(1, deployment("shop", 1)))
			again.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
		})
	}
}

// TestWhateverEndedOneAgentServes: the agents are killed in every phase of an
// update, and one of them, or both, are started again.
func TestWhateverEndedOneAgentServes(t *testing.T) {
	const newOne = "u1"
	for _, c := range []struct {
		phase   string
		starts  []string
		serves  string
		becomes string
	}{
		{"preparing", []string{incumbent}, incumbent, "failed"},
		{"proving", []string{incumbent}, incumbent, "failed"},
		{"proving", []string{newOne, incumbent}, incumbent, "failed"},
		{"handover", []string{incumbent}, incumbent, "failed"}, // the new one is not started again by its engine
		{"handover", []string{incumbent, newOne}, newOne, "successful"},
		{"handover", []string{newOne}, newOne, "successful"},
		{"committed", []string{incumbent, newOne}, newOne, "successful"},
		{"committed", []string{newOne}, newOne, "successful"},
		{"committed", []string{incumbent}, incumbent, "failed"},
		{"successful", []string{newOne}, newOne, "successful"},
		{"failed", []string{incumbent, newOne}, incumbent, "failed"},
	} {
		t.Run(fmt.Sprint(c.phase, " ", c.starts), func(t *testing.T) {
			t.Parallel()
			m := newHost(t)
			p := m.run(incumbent)
			m.controller.Welcome(t)
			p.quit()
			record := fmt.Sprintf(`{"id":"u1","phase":%q,"from":"1","to":%q,"incumbent":"incumbent"}`, c.phase, buildinfo.Version())
			if err := os.WriteFile(filepath.Join(m.dir, "update.json"), []byte(record), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, name := range c.starts {
				m.run(name)
			}
			s := m.controller.Welcome(t)
			await(t, "the update to be "+c.becomes, func() bool { return m.phase() == c.becomes })
			s.Assign(t, set(1, deployment("shop", 1)))
			s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
			for _, name := range []string{incumbent, newOne} {
				p := m.agent(name)
				if name == c.serves || p == nil {
					continue
				}
				select { // it was told to end, or ended by itself
				case <-p.ended:
				default:
					t.Errorf("%s runs on", name)
				}
			}
		})
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	resign := func(o *agentv1.Update, key ed25519.PrivateKey) {
		o.Signature = release.Artifact{Path: o.GetPath(), Version: o.GetVersion(), SHA256: o.GetDigest()[7:], Size: int64(o.GetSize())}.Sign(key)
	}
	for name, test := range map[string]struct {
		change func(*host, *agentv1.Update)
		kind   string
	}{
		"unsigned":          {func(_ *host, o *agentv1.Update) { o.Signature = nil }, "forbidden"},
		"by another key":    {func(_ *host, o *agentv1.Update) { resign(o, stranger) }, "forbidden"},
		"of another digest": {func(_ *host, o *agentv1.Update) { o.Digest = "sha256:" + strings.Repeat("ab", 32) }, "forbidden"},
		"no digest":         {func(_ *host, o *agentv1.Update) { o.Digest = "latest" }, "invalid"},
		"older":             {func(m *host, o *agentv1.Update) { o.Version = "0.0.0-alpha"; resign(o, m.key) }, "precondition"},
		"a stranger's chain": {func(m *host, o *agentv1.Update) {
			public := stranger.Public().(ed25519.PublicKey)
			o.ReleaseKeys = []*agentv1.ReleaseKey{{Key: public, Signature: ed25519.Sign(stranger, release.KeyStatement(public))}}
			resign(o, stranger)
		}, "forbidden"},
		"nobody to trust": {func(m *host, _ *agentv1.Update) {
			if err := os.Remove(filepath.Join(m.dir, "release-keys")); err != nil {
				t.Error(err)
			}
		}, "precondition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newHost(t)
			m.run(incumbent)
			s := m.controller.Welcome(t)
			order := m.order(t)
			test.change(m, order)
			if r := m.send(t, s, "u1", order); r.GetErrorKind() != test.kind {
				t.Errorf("the answer is %v, want kind %s", r, test.kind)
			}
			if m.has("update.json") {
				t.Error("it was begun all the same")
			}
		})
	}
}

// TestADowngradeHasToBeMeant, and a key that follows a trusted one is kept.
func TestADowngradeHasToBeMeant(t *testing.T) {
	m := newHost(t)
	m.build = exits
	m.run(incumbent)
	s := m.controller.Welcome(t)
	nextPublic, next, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	order := m.order(t)
	order.Version, order.Downgrade = "0.0.0-alpha", true
	order.Signature = release.Artifact{Path: order.GetPath(), Version: order.GetVersion(), SHA256: order.GetDigest()[7:], Size: int64(order.GetSize())}.Sign(next)
	order.ReleaseKeys = []*agentv1.ReleaseKey{{Key: nextPublic, Signature: ed25519.Sign(m.key, release.KeyStatement(nextPublic))}}
	if r := m.send(t, s, "u1", order); r.GetError() != "" {
		t.Fatal(r)
	}
	awaitUpdate(t, s, phaseFailed)
	if keys := m.read("release-keys"); !strings.Contains(keys, encode(nextPublic)) {
		t.Errorf("the next key is not kept:\n%s", keys)
	}
}

func has(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}
