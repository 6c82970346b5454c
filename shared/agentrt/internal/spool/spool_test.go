package spool_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/spool"
)

func open(t testing.TB, dir string, maxBytes int64) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: dir, Agent: "agent", MaxBytes: maxBytes, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func exit(name string) *agentv1.Fact {
	return &agentv1.Fact{Name: name, What: &agentv1.Fact_Exit{Exit: &agentv1.ContainerExit{ExitCode: 1}}}
}

func tell(s *spool.Spool, names ...string) {
	for _, name := range names {
		if err := s.Append(exit(name)); err != nil {
			panic(err)
		}
	}
	s.Publish()
}

// told returns what is sent after a number, "1:name" for a fact and
// "9:lost 3" for those that are missing.
func told(t testing.TB, s *spool.Spool, after uint64) (list []string) {
	t.Helper()
	for {
		facts, err := s.Next(after, 3, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(facts) == 0 {
			if s.Waiting(after) {
				t.Fatalf("nothing comes after %d although something waits", after)
			}
			return list
		}
		for _, f := range facts {
			if f.GetSequence() <= after {
				t.Fatalf("fact %d after %d", f.GetSequence(), after)
			}
			after = f.GetSequence()
			text := f.GetName()
			if f.GetLost() != nil {
				text = fmt.Sprint("lost ", f.GetLost().GetCount())
			}
			list = append(list, fmt.Sprintf("%d:%s", after, text))
		}
	}
}

func want(t testing.TB, what string, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, " "); text != want {
		t.Errorf("%s: %s, want %s", what, text, want)
	}
}

func TestFactsAreNumberedOverRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, 0)
	id := s.ID()
	tell(s, "a", "b")
	want(t, "told", told(t, s, 0), "1:a 2:b")
	s.Ack(1)
	want(t, "after an acknowledgement", told(t, s, 0), "2:b")

	again := open(t, dir, 0)
	tell(again, "c")
	if err := again.Opened(1); err != nil {
		t.Fatal(err)
	}
	if again.ID() != id || id == "" {
		t.Errorf("the spool is %q, it was %q", again.ID(), id)
	}
	want(t, "after a restart", told(t, again, 0), "2:b 3:c")
	again.Ack(3)
	want(t, "when all is acknowledged", told(t, again, 0), "")

	last := open(t, dir, 0)
	tell(last, "d")
	want(t, "numbers go on", told(t, last, 3), "4:d")
}

func TestFactsAreNotSentBeforeTheyArePublished(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	tell(s, "a")
	if err := s.Append(exit("b")); err != nil {
		t.Fatal(err)
	}
	want(t, "before", told(t, s, 0), "1:a")
	s.Publish()
	want(t, "after", told(t, s, 0), "1:a 2:b")
}

func TestAnswersAreBounded(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	tell(s, strings.Repeat("x", 700), strings.Repeat("y", 700), "z")
	for _, test := range []struct{ most, bytes, want int }{{3, 1 << 20, 3}, {2, 1 << 20, 2}, {3, 1000, 1}, {3, 1, 1}} {
		if facts, err := s.Next(0, test.most, test.bytes); err != nil || len(facts) != test.want {
			t.Errorf("at most %d of %d bytes: %d facts, %v, want %d", test.most, test.bytes, len(facts), err, test.want)
		}
	}
}

func TestAFullSpoolDropsTheOldestAndCountsThem(t *testing.T) {
	dir := t.TempDir()
	const room = 64 << 10
	s := open(t, dir, room)
	const n = 2000
	for i := range n {
		tell(s, fmt.Sprint(i, " ", strings.Repeat("x", 100)))
	}
	if used := diskUse(t, dir); used > room+4<<10 {
		t.Fatalf("%d bytes on the disk, %d are allowed", used, room)
	}
	check := func(when string, s *spool.Spool, acked uint64) {
		t.Helper()
		list := told(t, s, 0)
		var at, lost int
		if _, err := fmt.Sscanf(list[0], "%d:lost %d", &at, &lost); err != nil {
			t.Fatalf("%s: the first is %q", when, list[0])
		}
		if lost+len(list)-1+int(acked) != n || at != n-len(list)+1 {
			t.Errorf("%s: %d are counted as lost under number %d, %d are there, %d were told", when, lost, at, len(list)-1, n)
		}
	}
	check("while it runs", s, 0)
	s.Ack(10) // of those that are gone
	check("after an acknowledgement", s, 10)
	again := open(t, dir, room)
	again.Ack(10)
	check("after a restart", again, 10)
	again.Ack(n)
	again.Trim()
	want(t, "when all is acknowledged", told(t, again, 0), "")
	if used := diskUse(t, dir); used > room/8 {
		t.Errorf("%d bytes are on the disk when all is acknowledged", used)
	}
}

func diskUse(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

// onlySegment returns the path of the one segment there is.
func onlySegment(t testing.TB, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.facts"))
	if err != nil || len(found) != 1 {
		t.Fatalf("segments %q, %v", found, err)
	}
	return found[0]
}

func TestASpoolCutAtAnyByteIsUsable(t *testing.T) {
	dir := t.TempDir()
	tell(open(t, dir, 0), "a", "b")
	path := onlySegment(t, dir)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := len(content) / 2
	for cut := range content {
		if err := os.WriteFile(path, content[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, 0)
		tell(s, "c")
		text := "1:c"
		if cut >= size {
			text = "1:a 2:c"
		}
		want(t, fmt.Sprint("cut at ", cut), told(t, s, 0), text)
		want(t, fmt.Sprint("cut at ", cut, ", after a restart"), told(t, open(t, dir, 0), 0), text)
	}
}

func TestFactsThatWentBadAreCountedAsLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 16<<10) // segments of 1 KiB
	for i := range 40 {
		tell(s, fmt.Sprint(i, strings.Repeat("x", 90)))
	}
	before := told(t, s, 0)
	segments, err := filepath.Glob(filepath.Join(dir, "*.facts"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments %q, %v", segments, err)
	}
	content, err := os.ReadFile(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	content[20] ^= 1
	if err := os.WriteFile(segments[1], content, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := 0
	after := told(t, open(t, dir, 16<<10), 0)
	for _, text := range after {
		var at, n int
		if _, err := fmt.Sscanf(text, "%d:lost %d", &at, &n); err == nil {
			lost += n
		}
	}
	if lost == 0 || len(after)-1+lost != len(before) {
		t.Errorf("%d facts were told, now %d and %d lost", len(before), len(after)-1, lost)
	}
}

func TestASpoolThatWentBackInTimeBeginsAnew(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	tell(s, "a", "b")
	id := s.ID()
	if err := s.Opened(2); err != nil || s.ID() != id {
		t.Fatalf("what the controller has is what there is: %v, spool %s", err, s.ID())
	}
	if err := s.Opened(9); err != nil || s.ID() == id { // it has facts this disk never had
		t.Fatalf("spool %s, %v", s.ID(), err)
	}
	tell(s, "c")
	want(t, "in the new spool", told(t, s, 0), "1:a 2:b 3:c")
}

func TestAnotherAgentsSpoolIsDropped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	tell(s, "a")
	other, err := spool.Open(spool.Config{Dir: dir, Agent: "other", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if other.ID() == s.ID() {
		t.Error("the spool kept its id")
	}
	want(t, "told to another controller", told(t, other, 0), "")
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	tell(open(f, dir, 0), "a", "b", "c")
	content, err := os.ReadFile(onlySegment(f, dir))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content, content[:len(content)-3])
	f.Add([]byte{}, content)
	f.Add(content, []byte("{"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		dir := t.TempDir()
		_ = open(t, dir, 0).Close()
		for i, content := range [][]byte{first, second} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d.facts", 1+i*5)), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir, 0)
		tell(s, "new")
		list := told(t, s, 0)
		if len(list) == 0 || !strings.HasSuffix(list[len(list)-1], ":new") {
			t.Fatalf("told %q", list)
		}
	})
}
