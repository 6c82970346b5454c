package agentrt

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/release"
)

// errHandover ends the work of an agent that another one takes over from.
var errHandover = errors.New("the new agent takes over")

const (
	// fetchPatience bounds the fetching of a build, connections that break
	// included.
	fetchPatience = 10 * time.Minute
	startPatience = 3 * time.Minute
	// updateLook is how often the two agents of an update look at each other.
	updateLook  = 200 * time.Millisecond
	updateRetry = time.Second
	// clearPatience bounds putting things in order after a failure.
	clearPatience = 30 * time.Second
)

// updater replaces the agent by another build. It runs in the agent that holds
// the state folder: in the old one until it hands over, in the new one once it
// has taken over.
//
// The record in the folder says at every moment which of the two acts. The old
// agent writes it until Handover, then ends its work, lets go of the folder and
// stands by (standby.go). The new one takes the folder and serves; when the
// controller has echoed its work it writes Committed and removes the old one.
// Whatever ends in between, the one that is left finds in the record what to do.
type updater struct {
	agent    *Agent
	dir      *state.Dir
	fetch    func(ctx context.Context, digest, path string) error
	patience time.Duration
	orders   chan *agentv1.Update
	changed  chan struct{}
	// echo is closed once work came back from the controller.
	echo    chan struct{}
	echoed  func()
	handing atomic.Bool

	mu     sync.Mutex
	record state.Update
}

func newUpdater(a *Agent, dir *state.Dir, fetch func(ctx context.Context, digest, path string) error) (*updater, error) {
	record, err := state.ReadUpdate(a.config.StateDir)
	if err != nil {
		return nil, err
	}
	u := &updater{
		agent: a, dir: dir, fetch: fetch, patience: a.patience(), record: record,
		orders: make(chan *agentv1.Update, 1), changed: make(chan struct{}, 1), echo: make(chan struct{}),
	}
	u.echoed = sync.OnceFunc(func() { close(u.echo) })
	return u, nil
}

// accept takes an order on: from then on the record tells how it goes. Errors:
// Unsupported, Conflict while there is another, Forbidden for a signature that
// is not good, Precondition for an older version and where no key is trusted.
func (u *updater) accept(ctx context.Context, id string, order *agentv1.Update) error {
	replacer := u.agent.config.Replacer
	if replacer == nil {
		return apperr.New(apperr.Unsupported, "this agent cannot replace itself: run the install script on the node")
	}
	if err := u.check(order); err != nil {
		return err
	}
	self, err := replacer.Self(ctx)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.record.Phase.Final() {
		return apperr.New(apperr.Conflict, "an update to %s is under way already", u.record.To)
	}
	if u.record.Uncleared {
		return apperr.New(apperr.Unavailable, "what the last update left on the engine could not be removed yet: is the engine well? Try again")
	}
	record := state.Update{
		ID: id, Phase: state.Preparing, From: u.agent.config.Version, To: order.GetVersion(), Digest: order.GetDigest(), Incumbent: self,
	}
	if err := u.dir.ClearUpdate(); err != nil {
		return err
	}
	if err := u.dir.SetUpdate(record); err != nil {
		return err
	}
	u.record = record
	u.signal()
	u.orders <- order // there is room: the one before is over
	return nil
}

// check makes sure that the order is signed and goes forward.
func (u *updater) check(order *agentv1.Update) error {
	trusted, err := u.dir.ReleaseKeys()
	if err != nil {
		return err
	}
	if len(trusted) == 0 {
		return apperr.New(apperr.Precondition, "this node was installed without a release key to check builds by: make a new install script for it and run it there")
	}
	var list []release.Key
	for _, key := range order.GetReleaseKeys() {
		list = append(list, release.Key{Public: ed25519.PublicKey(key.GetKey()), Signature: key.GetSignature()})
	}
	keys := release.Follow(trusted, list)
	sum, isSHA256 := cutSHA256(order.GetDigest())
	if !isSHA256 {
		return apperr.New(apperr.Invalid, "%.80q is no digest: sha256: and 64 hexadecimal digits", order.GetDigest())
	}
	artifact := release.Artifact{Path: order.GetPath(), Version: order.GetVersion(), SHA256: sum, Size: int64(order.GetSize())}
	if err := artifact.Verify(order.GetSignature(), keys); err != nil {
		return err
	}
	if own := u.agent.config.Version; !order.GetDowngrade() && release.Older(order.GetVersion(), own) {
		return apperr.New(apperr.Precondition, "version %s is not newer than %s, which runs here; ask for a downgrade if that is meant", order.GetVersion(), own).WithReason("downgrade")
	}
	if len(keys) > len(trusted) {
		return u.dir.SetReleaseKeys(keys)
	}
	return nil
}

func cutSHA256(digest string) (sum string, ok bool) {
	const prefix, digits = "sha256:", 64
	if len(digest) != len(prefix)+digits || digest[:len(prefix)] != prefix {
		return "", false
	}
	_, err := hex.DecodeString(digest[len(prefix):])
	return digest[len(prefix):], err == nil
}

// run carries out orders until ctx ends. It ends with errHandover when the
// agent is to stop its work because the new one takes over.
func (u *updater) run(ctx context.Context) error {
	if p := u.present().Phase; p == state.Handover || p == state.Committed {
		u.takeOver(ctx)
	}
	retry := time.NewTicker(clearPatience)
	defer retry.Stop()
	u.clear(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
			u.clear(ctx)
		case order := <-u.orders:
			if err := u.attempt(ctx, order); err != nil {
				u.fail(context.WithoutCancel(ctx), err)
				continue
			}
			u.handing.Store(true)
			return errHandover
		}
	}
}

// attempt brings the new agent up beside this one, until it is to take over.
func (u *updater) attempt(ctx context.Context, order *agentv1.Update) error {
	record := u.present()
	u.agent.config.Log.Info("updating the agent", "from", record.From, "to", record.To, logging.KeyCommand, record.ID)
	if err := u.download(ctx, order); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := u.put(func(r *state.Update) { r.Phase = state.Proving }); err != nil {
		return err
	}
	build := Build{ID: record.ID, Archive: u.dir.Archive(), Digest: record.Digest, Version: record.To}
	if err := u.agent.config.Replacer.Start(starting, build); err != nil {
		return fmt.Errorf("start the new agent: %w", err)
	}
	if err := u.awaitProof(ctx, record); err != nil {
		return err
	}
	return u.put(func(r *state.Update) { r.Phase = state.Handover })
}

// download fetches the build; what came goes on where it broke off.
func (u *updater) download(ctx context.Context, order *agentv1.Update) error {
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	for {
		err := u.fetch(ctx, order.GetDigest(), u.dir.Archive())
		if err == nil {
			break
		}
		if !apperr.Is(err, apperr.Unavailable) || !backoff.Sleep(ctx, updateRetry) {
			return fmt.Errorf("fetch the new agent: %w", err)
		}
	}
	info, err := os.Stat(u.dir.Archive())
	if err != nil {
		return fmt.Errorf("fetch the new agent: %w", err)
	}
	if info.Size() != int64(order.GetSize()) {
		return apperr.New(apperr.Invalid, "the new agent has %d bytes, not the %d that were signed", info.Size(), order.GetSize())
	}
	return nil
}

// awaitProof waits until the new agent has shown that it is well.
func (u *updater) awaitProof(ctx context.Context, record state.Update) error {
	late := time.After(u.patience)
	look := time.NewTicker(u.agent.lookEvery())
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.New("the agent was stopped while the new one proved itself")
		case <-late:
			return fmt.Errorf("the new agent did not prove itself within %s: %s", u.patience, u.words(ctx, record.ID))
		case <-look.C:
		}
		proof, err := u.dir.Proof()
		if err != nil {
			return err
		}
		if proof.ID == record.ID {
			return provenAs(record.To, proof.Version)
		}
		seen, err := u.agent.config.Replacer.Look(ctx, record.ID)
		switch {
		case err != nil: // the next look tells more
		case seen.Proven != "":
			return provenAs(record.To, seen.Proven)
		case !seen.Alive:
			return fmt.Errorf("the new agent ended before it proved itself: %s", seen.Words)
		}
	}
}

// provenAs is an error unless the new agent is the version that was asked for.
func provenAs(want, said string) error {
	if said != want {
		return apperr.New(apperr.Invalid, "the build that was signed as %s says that it is %.80q", want, said)
	}
	return nil
}

func (u *updater) words(ctx context.Context, id string) string {
	seen, err := u.agent.config.Replacer.Look(ctx, id)
	if err != nil {
		return err.Error()
	}
	return seen.Words
}

// fail ends an update: this agent serves on. The new one is gone before that is
// said.
func (u *updater) fail(ctx context.Context, why error) {
	u.agent.config.Log.Error("the agent was not updated and serves on", logging.KeyError, why)
	ctx, cancel := context.WithTimeout(ctx, clearPatience)
	defer cancel()
	err := u.agent.config.Replacer.Discard(ctx, u.present().ID)
	u.note(err, "what is left of the new agent cannot be removed, and will be tried again")
	u.note(u.dir.ClearUpdate(), "what the update fetched cannot be removed")
	u.note(u.put(func(r *state.Update) {
		r.Phase, r.Error, r.Uncleared = state.Failed, why.Error(), err != nil
	}), "the update's end cannot be noted: check the state folder")
}

// clear removes what a failed update left while the engine was away.
func (u *updater) clear(ctx context.Context) {
	if r := u.present(); !r.Uncleared || u.agent.config.Replacer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, clearPatience)
	defer cancel()
	if err := u.agent.config.Replacer.Discard(ctx, u.present().ID); err != nil {
		u.note(err, "what is left of an update that failed cannot be removed")
		return
	}
	u.note(u.put(func(r *state.Update) { r.Uncleared = false }), "check the state folder")
}

// takeOver ends the update in the new agent: once the controller has echoed its
// work it stays, and the old one goes.
func (u *updater) takeOver(ctx context.Context) {
	replacer, record := u.agent.config.Replacer, u.present()
	if record.Phase == state.Handover {
		select {
		case <-ctx.Done():
			return
		case <-u.echo:
		}
		if !u.insist(ctx, "have this agent kept", func() error { return replacer.Keep(ctx, record.ID) }) ||
			!u.insist(ctx, "note that this agent stays", func() error { return u.put(func(r *state.Update) { r.Phase = state.Committed }) }) {
			return
		}
	}
	if !u.insist(ctx, "remove the old agent", func() error { return replacer.Succeed(ctx, record.ID, record.Incumbent) }) {
		return
	}
	u.note(u.dir.ClearUpdate(), "what the update fetched cannot be removed")
	u.insist(ctx, "note that the update is over", func() error { return u.put(func(r *state.Update) { r.Phase = state.Successful }) })
	u.agent.config.Log.Info("the agent was updated", "from", record.From, "to", record.To)
}

// insist does a step until it succeeds; false when ctx ended first.
func (u *updater) insist(ctx context.Context, what string, step func() error) bool {
	for {
		err := step()
		if err == nil {
			return true
		}
		u.agent.config.Log.Warn("an update waits", "for", what, logging.KeyError, err)
		if !backoff.Sleep(ctx, updateRetry) {
			return false
		}
	}
}

func (u *updater) note(err error, what string) {
	if err != nil {
		u.agent.config.Log.Error(what, logging.KeyError, err)
	}
}

func (u *updater) present() state.Update {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.record
}

// put changes the record, on the disk first.
func (u *updater) put(change func(*state.Update)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	record := u.record
	change(&record)
	if err := u.dir.SetUpdate(record); err != nil {
		return err
	}
	u.record = record
	u.signal()
	return nil
}

// signal has the status told; u.mu is held.
func (u *updater) signal() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// status is what the controller is told; nil when there was no update.
func (u *updater) status() *agentv1.UpdateStatus {
	r := u.present()
	if r.ID == "" {
		return nil
	}
	return &agentv1.UpdateStatus{Id: r.ID, Phase: updatePhase(r.Phase), Error: r.Error, FromVersion: r.From, ToVersion: r.To}
}

func updatePhase(p state.Phase) agentv1.UpdatePhase {
	switch p {
	case state.Preparing:
		return agentv1.UpdatePhase_UPDATE_PHASE_PREPARING
	case state.Proving:
		return agentv1.UpdatePhase_UPDATE_PHASE_PROVING
	case state.Handover, state.Committed:
		return agentv1.UpdatePhase_UPDATE_PHASE_TAKING_OVER
	case state.Successful:
		return agentv1.UpdatePhase_UPDATE_PHASE_SUCCESSFUL
	case state.Failed:
		return agentv1.UpdatePhase_UPDATE_PHASE_FAILED
	default:
		return agentv1.UpdatePhase_UPDATE_PHASE_UNSPECIFIED
	}
}
