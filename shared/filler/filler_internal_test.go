package filler

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// volume is a folder that is filled in a test.
type volume struct {
	*testing.T
	folder string
}

func newVolume(t *testing.T, files map[string]string) volume {
	t.Helper()
	v := volume{t, t.TempDir()}
	for name, content := range files {
		v.write(name, content)
	}
	return v
}

func (v volume) write(name, content string) {
	v.Helper()
	path := filepath.Join(v.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		v.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		v.Fatal(err)
	}
}

// holds says that these files are there, and nothing else but the filler's own.
func (v volume) holds(want map[string]string) {
	v.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(v.folder, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(v.folder, path)
		if err != nil || entry.IsDir() || name == fileIndex || name == fileLock {
			return err
		}
		content, err := os.ReadFile(path)
		if entry.Type()&fs.ModeSymlink != 0 {
			leads, _ := os.Readlink(path)
			content, err = []byte("-> "+leads), nil
		}
		got[name] = string(content)
		return err
	})
	if err != nil || !maps.Equal(got, want) {
		v.Fatalf("the volume holds %v, %v, want %v", got, err, want)
	}
}

// bucket is what a storage has, by name; the entity tags are the contents.
type bucket map[string]string

// fill does what the agent does, and returns what it had to send.
func (v volume) fill(b bucket) (sent []string, err error) {
	v.Helper()
	fromAgent, toFiller := io.Pipe()
	fromFiller, toAgent := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := RunIn([]string{VerbReceive, "-1"}, "", v.folder, fromAgent, toAgent)
		done <- err
		_ = fromAgent.CloseWithError(io.ErrClosedPipe)
		_ = toAgent.CloseWithError(io.EOF)
	}()
	index, err := ReadIndex(bufio.NewReader(fromFiller))
	if err != nil {
		v.Fatal(err)
	}
	s := Send(toFiller)
	var wanted []string
	for name, content := range b {
		wanted = append(wanted, name)
		if index[name].ETag != content {
			sent = append(sent, name)
			if err := s.File(name, content, int64(len(content)), strings.NewReader(content)); err != nil {
				return sent, err
			}
		}
	}
	if err := s.End(wanted); err != nil {
		return sent, err
	}
	_ = toFiller.Close()
	return sent, <-done
}

func TestReceiveMakesTheVolumeWhatTheStorageIs(t *testing.T) {
	v := newVolume(t, map[string]string{"own/data": "mine"})
	for _, step := range []struct {
		bucket bucket
		sent   int
	}{
		{bucket{"a": "1", "dir/b": "2", "dir/deep/c": "3"}, 3},
		{bucket{"a": "1", "dir/b": "2", "dir/deep/c": "3"}, 0},
		{bucket{"a": "1", "dir/b": "two", "dir/deep/c": "3"}, 1},
		{bucket{"a/x": "1", "dir": "a file now"}, 2},
		{bucket{"a": "back", "dir/b": "2"}, 2},
		{bucket{}, 0},
	} {
		sent, err := v.fill(step.bucket)
		if err != nil || len(sent) != step.sent {
			t.Fatalf("fill %v: %v, sent %v, want %d", step.bucket, err, sent, step.sent)
		}
		want := map[string]string{"own/data": "mine"}
		maps.Copy(want, step.bucket)
		v.holds(want)
	}
}

// A file that somebody changed in the volume is what the storage has again.
func TestReceiveMendsWhatWasChanged(t *testing.T) {
	v := newVolume(t, nil)
	if _, err := v.fill(bucket{"a": "1", "b": "2"}); err != nil {
		t.Fatal(err)
	}
	v.write("a", "meddled with")
	if err := os.Remove(filepath.Join(v.folder, "b")); err != nil {
		t.Fatal(err)
	}
	if sent, err := v.fill(bucket{"a": "1", "b": "2"}); err != nil || len(sent) != 2 {
		t.Errorf("sent %v, %v", sent, err)
	}
	v.holds(map[string]string{"a": "1", "b": "2"})
}

// What does not come whole changes nothing.
func TestReceiveIsAllOrNothing(t *testing.T) {
	v := newVolume(t, nil)
	if _, err := v.fill(bucket{"a": "old"}); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	s := Send(&sent)
	if err := s.File("a", "new", 3, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	if err := s.End([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	whole := sent.Bytes()
	for cut := 0; cut < bytes.Index(whole, []byte(`["a"]`))+4; cut += 71 {
		err := RunIn([]string{VerbReceive, "-1"}, "", v.folder, bytes.NewReader(whole[:cut]), io.Discard)
		if err == nil {
			t.Fatalf("cut at %d of %d: no error", cut, len(whole))
		}
	}
	v.holds(map[string]string{"a": "old"})
	if err := RunIn([]string{VerbReceive, "-1"}, "", v.folder, bytes.NewReader(whole), io.Discard); err != nil {
		t.Fatal(err)
	}
	v.holds(map[string]string{"a": "new"})
}

func TestPathsThatLeadOutAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "a/./b", "a//b", "a/", `..\x`, "a\x00b", ".fairlead-storage.json", "a/.fairlead-incoming/b",
		strings.Repeat("x", 256), strings.Repeat("x/", 3000) + "x",
	} {
		if CheckName(name) == nil {
			t.Errorf("%.40q is allowed", name)
		}
		if Send(io.Discard).File(name, "e", 0, strings.NewReader("")) == nil {
			t.Errorf("%.40q is sent", name)
		}
	}
	if CheckNames([]string{"a/b", "a-b", "a"}) == nil {
		t.Error("a file that is a folder is allowed")
	}
	if err := CheckNames([]string{"a/b", "a-b", "ab", "..a", "a/..b"}); err != nil {
		t.Error(err)
	}
}

// Whoever can write to the volume can't lead the filler out of it.
func TestLinksLeadNowhere(t *testing.T) {
	outside := newVolume(t, map[string]string{"file": "untouched"})
	v := newVolume(t, nil)
	if err := os.Symlink(outside.folder, filepath.Join(v.folder, "dir")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.fill(bucket{"dir/file": "written"}); err == nil {
		t.Error("a link out of the volume was followed")
	}
	outside.holds(map[string]string{"file": "untouched"})
}

func TestMirrorAndOverlay(t *testing.T) {
	source := newVolume(t, map[string]string{"app.conf": "new", "dir/more": "x", "was-a-folder": "file"})
	if err := os.Symlink("app.conf", filepath.Join(source.folder, "link")); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{"app.conf": "old", "own": "mine", "kept/own": "mine"}
	for verb, want := range map[string]map[string]string{
		VerbMirror:  {"app.conf": "new", "dir/more": "x", "was-a-folder": "file", "link": "-> app.conf"},
		VerbOverlay: {"app.conf": "new", "dir/more": "x", "was-a-folder": "file", "link": "-> app.conf", "own": "mine", "kept/own": "mine"},
	} {
		t.Run(verb, func(t *testing.T) {
			v := newVolume(t, before)
			if verb == VerbMirror {
				v.write("was-a-folder/x", "gone")
			}
			for range 2 {
				if err := RunIn([]string{verb}, source.folder, v.folder, nil, nil); err != nil {
					t.Fatal(err)
				}
				v.holds(want)
			}
			from, errFrom := os.Stat(source.folder + "/app.conf")
			to, errTo := os.Stat(v.folder + "/app.conf")
			if errFrom != nil || errTo != nil || from.Mode() != to.Mode() || !from.ModTime().Equal(to.ModTime()) {
				t.Errorf("the copy is %v of %v, %v, %v", to, from, errFrom, errTo)
			}
		})
	}
}

// A volume can have files of both kinds.
func TestMirrorLeavesWhatCameFromAStorage(t *testing.T) {
	source := newVolume(t, map[string]string{"app.conf": "new"})
	v := newVolume(t, map[string]string{"stale": "x"})
	if _, err := v.fill(bucket{"dir/asset": "a"}); err != nil {
		t.Fatal(err)
	}
	if err := RunIn([]string{VerbMirror}, source.folder, v.folder, nil, nil); err != nil {
		t.Fatal(err)
	}
	v.holds(map[string]string{"app.conf": "new", "dir/asset": "a"})
	if sent, err := v.fill(bucket{"dir/asset": "a"}); err != nil || len(sent) > 0 {
		t.Errorf("sent again: %v, %v", sent, err)
	}
}

// Times tell nothing in images that are built to be reproducible.
func TestMirrorSeesWhatOnlyTheContentTells(t *testing.T) {
	source, v := newVolume(t, map[string]string{"a": "one"}), newVolume(t, map[string]string{"a": "two"})
	at := time.Unix(0, 0)
	for _, folder := range []string{source.folder, v.folder} {
		if err := os.Chtimes(filepath.Join(folder, "a"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := RunIn([]string{VerbMirror}, source.folder, v.folder, nil, nil); err != nil {
		t.Fatal(err)
	}
	v.holds(map[string]string{"a": "one"})
}

func TestOverlayTakesNoFolderAway(t *testing.T) {
	source := newVolume(t, map[string]string{"data": "a file"})
	v := newVolume(t, map[string]string{"data/own": "mine"})
	if err := RunIn([]string{VerbOverlay}, source.folder, v.folder, nil, nil); err == nil {
		t.Error("a folder was replaced by a file")
	}
	v.holds(map[string]string{"data/own": "mine"})
}

func TestUnknownWords(t *testing.T) {
	for _, words := range [][]string{nil, {"dance"}, {VerbReceive}, {VerbReceive, "x"}, {VerbMirror, "x"}} {
		if err := RunIn(words, t.TempDir(), t.TempDir(), nil, io.Discard); err == nil {
			t.Errorf("%q is understood", words)
		}
	}
}

// Pods of a cluster that share a volume fill it one after the other.
func TestAVolumeIsFilledByOneAtATime(t *testing.T) {
	v := newVolume(t, nil)
	fromAgent, toFiller := io.Pipe()
	fromFiller, toAgent := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- RunIn([]string{VerbReceive, "-1"}, "", v.folder, fromAgent, toAgent) }()
	if _, err := ReadIndex(bufio.NewReader(fromFiller)); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(filepath.Join(v.folder, fileLock), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	try := func() error { return syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
	if err := try(); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("another fills while the first does: %v", err)
	}
	if err := Send(toFiller).End(nil); err != nil {
		t.Fatal(err)
	}
	_ = toFiller.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := try(); err != nil {
		t.Errorf("the volume stays locked: %v", err)
	}
}
