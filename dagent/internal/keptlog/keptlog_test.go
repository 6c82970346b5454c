package keptlog_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/keptlog"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// writes is a log of lines, each a second after the one before.
func writes(lines ...string) func(func(workload.LogLine) error) error {
	return func(tell func(workload.LogLine) error) error {
		for n, text := range lines {
			if err := tell(workload.LogLine{Time: began.Add(time.Duration(n) * time.Second), Stream: "stderr", Text: text}); err != nil {
				return err
			}
		}
		return nil
	}
}

func open(t *testing.T, folder string, most int64) *keptlog.Store {
	t.Helper()
	s, err := keptlog.Open(folder, most)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keep(t *testing.T, s *keptlog.Store, container string, release int64, lines ...string) {
	t.Helper()
	if err := s.Keep(keptlog.Key{Container: container, Release: release, ID: container + strconv.FormatInt(release, 10)}, writes(lines...)); err != nil {
		t.Fatal(err)
	}
}

func read(s *keptlog.Store, container string, release int64, options workload.LogOptions) (texts []string, err error) {
	err = s.Read(container, release, options, func(l workload.LogLine) error {
		texts = append(texts, l.Text)
		return nil
	})
	return texts, err
}

func TestLogsAreReadAsTheyWereWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	s := open(t, folder, 1<<20)
	keep(t, s, "shop-web", 1, "one", "<two> & \"three\"", "four\tfünf")
	keep(t, s, "shop-web", 2, "of release 2")
	keep(t, s, "shop-../../web", 1, "of another")
	keep(t, s, "shop-quiet", 1)
	keep(t, s, "shop-late", 5, "of release 5")
	s = open(t, folder, 1<<20)
	all := workload.LogOptions{Tail: -1}
	for _, c := range []struct {
		name      string
		container string
		release   int64
		options   workload.LogOptions
		want      []string
	}{
		{"the last release", "shop-web", 0, all, []string{"of release 2"}},
		{"one release", "shop-web", 1, all, []string{"one", "<two> & \"three\"", "four\tfünf"}},
		{"a release that changed nothing", "shop-web", 3, all, []string{"of release 2"}},
		{"the end", "shop-web", 1, workload.LogOptions{Tail: 1, Follow: true}, []string{"four\tfünf"}},
		{"since", "shop-web", 1, workload.LogOptions{Tail: -1, Since: began.Add(time.Second)}, []string{"<two> & \"three\"", "four\tfünf"}},
		{"a name that is a path", "shop-../../web", 0, all, []string{"of another"}},
	} {
		if got, err := read(s, c.container, c.release, c.options); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for container, release := range map[string]int64{"shop-late": 4, "shop-quiet": 0, "shop": 0} {
		if _, err := read(s, container, release, all); !apperr.Is(err, apperr.NotFound) {
			t.Errorf("%s of release %d: %v, want it not to be found", container, release, err)
		}
	}
	full := errors.New("full")
	if err := s.Read("shop-web", 1, all, func(l workload.LogLine) error {
		if l.Stream != "stderr" || !l.Time.Equal(began) {
			t.Errorf("the first line is %+v", l)
		}
		return full
	}); !errors.Is(err, full) {
		t.Errorf("a reader that refuses a line gets %v", err)
	}
}

func TestLogThatCanNotBeReadToItsEnd(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	broken := errors.New("broken off")
	key := keptlog.Key{Container: "web", Release: 1, ID: "1"}
	err := s.Keep(key, func(tell func(workload.LogLine) error) error {
		return errors.Join(writes("one")(tell), broken)
	})
	if got, readErr := read(s, "web", 0, workload.LogOptions{Tail: -1}); !errors.Is(err, broken) || !slices.Equal(got, []string{"one"}) {
		t.Errorf("%v, then %q, %v, want what was read", err, got, readErr)
	}
	if err := s.Keep(key, writes("one", "two")); err != nil {
		t.Fatal(err)
	}
	if got, err := read(s, "web", 0, workload.LogOptions{Tail: -1}); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("once more: %q, %v", got, err)
	}
}

func TestLogsAreBounded(t *testing.T) {
	folder := t.TempDir()
	const most = 3 << 20
	s := open(t, folder, most)
	// What can't be compressed.
	raw := make([]byte, 1<<10)
	var long []string
	for range 2 * keptlog.MaxLogBytes / (2 * len(raw)) {
		_, _ = rand.Read(raw) // never fails
		long = append(long, hex.EncodeToString(raw))
	}
	for release := range int64(8) {
		keep(t, s, "web", release+1, append(long, "end of "+strconv.FormatInt(release+1, 10))...)
	}
	got, err := read(s, "web", 8, workload.LogOptions{Tail: -1})
	if err != nil || got[len(got)-1] != "end of 8" || len(strings.Join(got, "")) > keptlog.MaxLogBytes || len(got) < len(long)/3 {
		t.Errorf("%d lines of a log of %d, %v, want its end", len(got), len(long)+1, err)
	}
	if _, err := read(s, "web", 1, workload.LogOptions{Tail: -1}); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("the oldest log: %v, want it gone", err)
	}
	var all int64
	err = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all += info.Size()
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", e.Name(), info.Mode())
			}
		}
		return err
	})
	if err != nil || all > most || all < most/2 {
		t.Errorf("the folder has %d bytes, %v, want at most %d", all, err, most)
	}
	// A line that is too long for the bound is the last that goes.
	keep(t, s, "huge", 1, "short", strings.Repeat("x", keptlog.MaxLogBytes+1))
	if got, err := read(s, "huge", 1, workload.LogOptions{Tail: -1}); err != nil || len(got) != 1 {
		t.Errorf("%d lines, %v, want the last", len(got), err)
	}
	if err := os.WriteFile(filepath.Join(folder, "mine.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	keep(t, s, "web", 9, "one")
}
