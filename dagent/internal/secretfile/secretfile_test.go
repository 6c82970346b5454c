package secretfile_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/dagent/internal/secretfile"
	"fairlead.dev/shared/apperr"
)

func open(t *testing.T) (store *secretfile.Store, disk, memory string) {
	t.Helper()
	memory = filepath.Join("/dev/shm", "fairlead-test-"+rand.Text())
	if err := os.Mkdir(memory, 0o700); err != nil {
		t.Fatalf("these tests need a tmpfs at /dev/shm: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	disk = t.TempDir()
	return again(t, disk, memory), disk, memory
}

func again(t *testing.T, disk, memory string) *secretfile.Store {
	t.Helper()
	store, err := secretfile.Open(disk, memory)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// owner is whom files are given to: root can give them to others, and everybody
// to themselves.
func owner() int {
	if os.Getuid() == 0 {
		return 1234
	}
	return os.Getuid()
}

func set(content string) secretfile.Set {
	return secretfile.Set{UID: owner(), GID: os.Getgid(), Files: map[string]string{"token": content, "other.key": "x"}}
}

func want(t *testing.T, store *secretfile.Store, id, content string) {
	t.Helper()
	path := filepath.Join(store.Folder(id), "token")
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Fatalf("%s: %v, %q, want %q", path, err, got, content)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o400 || int(info.Sys().(*syscall.Stat_t).Uid) != owner() {
		t.Errorf("%s is %v, %v", path, info, err)
	}
	if info, err := os.Stat(store.Folder(id)); err != nil || info.Mode().Perm() != 0o500 || int(info.Sys().(*syscall.Stat_t).Uid) != owner() {
		t.Errorf("%s is %v, %v", store.Folder(id), info, err)
	}
	if info, err := os.Stat(store.Memory()); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%s is %v, %v", store.Memory(), info, err)
	}
	if left, err := filepath.Glob(filepath.Join(store.Folder(id), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

func TestFilesComeBackAfterARestartOfTheHost(t *testing.T) {
	store, disk, memory := open(t)
	if err := store.Put("a", set("hunter2")); err != nil {
		t.Fatal(err)
	}
	want(t, store, "a", "hunter2")
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	store = again(t, disk, memory)
	if err := store.Restore(); err != nil {
		t.Fatal(err)
	}
	want(t, store, "a", "hunter2")
}

// A container that has the folder mounted sees what is put in it next.
func TestFilesAreReplacedInPlace(t *testing.T) {
	store, _, _ := open(t)
	if err := store.Put("a", set("one")); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(store.Folder("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	if err := store.Put("a", set("two")); err != nil {
		t.Fatal(err)
	}
	want(t, store, "a", "two")
	before, errBefore := folder.Stat()
	after, errAfter := os.Stat(store.Folder("a"))
	if errBefore != nil || errAfter != nil || !os.SameFile(before, after) {
		t.Error("it is another folder")
	}
}

func TestTheDiskHoldsNothingInTheClear(t *testing.T) {
	store, disk, _ := open(t)
	if err := store.Put("a", set("hunter2")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(disk, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("hunter2")) {
			t.Errorf("%s holds the secret", path)
		}
		if info, statErr := entry.Info(); statErr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v", path, statErr, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatIsUsedIsKept(t *testing.T) {
	store, disk, memory := open(t)
	for _, id := range []string{"a", "b"} {
		if err := store.Put(id, set(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Keep([]string{"b"}); err != nil {
		t.Fatal(err)
	}
	want(t, store, "b", "b")
	if _, err := os.Stat(store.Folder("a")); err == nil {
		t.Error("what was not kept is still in memory")
	}
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	store = again(t, disk, memory)
	if err := store.Restore(); err != nil {
		t.Fatal(err)
	}
	want(t, store, "b", "b")
	if _, err := os.Stat(store.Folder("a")); err == nil {
		t.Error("what was not kept is back")
	}
}

// One record that is broken keeps no other from being restored.
func TestABrokenRecordIsNamed(t *testing.T) {
	store, disk, memory := open(t)
	for _, id := range []string{"a", "b"} {
		if err := store.Put(id, set(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disk, "sets", "a"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	store = again(t, disk, memory)
	if err := store.Restore(); err == nil || !strings.Contains(err.Error(), "secret files a") {
		t.Errorf("Restore: %v", err)
	}
	want(t, store, "b", "b")
}

func TestWhatIsRefused(t *testing.T) {
	if _, err := secretfile.Open(t.TempDir(), t.TempDir()); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("a folder on a disk: %v", err)
	}
	store, _, _ := open(t)
	for _, id := range []string{"", "..", "a/b", "/a", ".a"} {
		if err := store.Put(id, set("x")); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("id %q: %v", id, err)
		}
		if err := store.Put("a", secretfile.Set{Files: map[string]string{id: "x"}}); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("file %q: %v", id, err)
		}
	}
}
