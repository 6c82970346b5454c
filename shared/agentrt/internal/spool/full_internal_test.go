package spool

import (
	"log/slog"
	"os"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

func TestWhatAFullDiskDoesNotTakeIsGivenAgainOrCountedAsLost(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Agent: "agent", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	add := func(n int, want bool) {
		t.Helper()
		for range n {
			if err := s.Append(&agentv1.Fact{Name: "fact"}); (err == nil) != want {
				t.Fatalf("append: %v", err)
			}
		}
		s.Publish()
	}
	sent := func(after uint64) (facts, lost uint64, last uint64) {
		found, err := s.Next(after, 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			last = f.GetSequence()
			if f.GetLost() != nil {
				lost += f.GetLost().GetCount()
			} else {
				facts++
			}
		}
		return facts, lost, last
	}
	add(2, true)
	good := s.file
	if s.file, err = os.Open(s.segments[0].path); err != nil { // as when the disk takes no more
		t.Fatal(err)
	}
	add(3, false)
	if facts, lost, last := sent(0); facts != 2 || lost != 0 || last != 2 {
		t.Fatalf("on a full disk: %d facts, %d lost, up to %d", facts, lost, last)
	}
	s.Lose(1)
	s.Publish()
	if facts, lost, last := sent(2); facts != 0 || lost != 1 || last != 3 {
		t.Fatalf("after one was given up: %d facts, %d lost, up to %d", facts, lost, last)
	}
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	s.file = good
	add(1, true)
	if facts, lost, last := sent(0); facts != 3 || lost != 1 || last != 4 {
		t.Fatalf("when there is room again: %d facts, %d lost, up to %d", facts, lost, last)
	}
}

// A number that was sent must not be given to another fact after a crash, so
// what is not synced is not told.
func TestFactsAreOnTheDiskBeforeTheyCanBeSent(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Agent: "agent", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var synced int64
	s.sync = func(f *os.File) error {
		info, err := f.Stat()
		if err == nil {
			synced = info.Size()
		}
		return err
	}
	if err := s.Append(&agentv1.Fact{Name: "one"}, &agentv1.Fact{Name: "two"}); err != nil {
		t.Fatal(err)
	}
	if size := s.segments[0].size; synced != size || size == 0 {
		t.Errorf("%d of %d bytes are on the disk", synced, size)
	}
	s.sync = func(*os.File) error { return os.ErrInvalid }
	if err := s.Append(&agentv1.Fact{Name: "three"}); err == nil {
		t.Error("a fact was taken that is not on the disk")
	}
	s.Publish()
	if found, err := s.Next(0, 9, 1<<20); err != nil || len(found) != 2 {
		t.Errorf("told %v, %v, want the first two", found, err)
	}
}
