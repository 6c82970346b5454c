package statecopy_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"fairlead.dev/crane/internal/statecopy"
	"fairlead.dev/shared/apperr"
)

func cluster() *fake.Clientset {
	return fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: "state"}})
}

// pod is a pod of the agent, with an empty folder of its own.
func pod(t *testing.T, client *fake.Clientset) (*statecopy.Copy, string) {
	t.Helper()
	folder := t.TempDir()
	c := statecopy.New(statecopy.Config{Client: client, Namespace: "fairlead", Name: "state", Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err := c.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, folder
}

func write(t *testing.T, folder, name string, content []byte) {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheNextPodIsTheSameAgent(t *testing.T) {
	t.Parallel()
	client := cluster()
	first, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	write(t, folder, "identity/key.pem", []byte("key"))
	write(t, folder, "assignments.pb", []byte("what"))
	write(t, folder, "spool/1", []byte("facts"))
	if err := first.Keep(true); err != nil {
		t.Fatal(err)
	}
	_, second := pod(t, client)
	for name, want := range map[string]string{"identity/agent.json": "who", "identity/key.pem": "key", "assignments.pb": "what", "spool/1": ""} {
		if got := content(t, second, name); got != want {
			t.Errorf("%s is %q in the next pod, want %q", name, got, want)
		}
	}

	// A container that starts again in the same pod has the newer folder.
	write(t, folder, "identity/key.pem", []byte("renewed"))
	again := statecopy.New(statecopy.Config{Client: client, Namespace: "fairlead", Name: "state", Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err := again.Restore(t.Context()); err != nil || content(t, folder, "identity/key.pem") != "renewed" {
		t.Errorf("Restore over a folder with an agent: %v, the key is %q", err, content(t, folder, "identity/key.pem"))
	}
}

func TestWorkIsCopiedSoonAndAtTheEnd(t *testing.T) {
	t.Parallel()
	client := cluster()
	c, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	write(t, folder, "results.json", []byte("ended well"))
	if err := c.Keep(false); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for copied := ""; copied != "ended well"; {
		_, other := pod(t, client)
		copied = content(t, other, "results.json")
		select {
		case <-deadline:
			t.Fatal("the results were not copied")
		case <-time.After(20 * time.Millisecond):
		}
	}
	write(t, folder, "results.json", []byte("at the end"))
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, other := pod(t, client); content(t, other, "results.json") != "at the end" {
		t.Error("the last results were not copied")
	}
}

func TestWhatTheControllerTellsAgainGivesWay(t *testing.T) {
	t.Parallel()
	client := cluster()
	c, folder := pod(t, client)
	large := make([]byte, 2<<20)
	_, _ = rand.Read(large)
	write(t, folder, "identity/agent.json", []byte("who"))
	write(t, folder, "assignments.pb", large)
	write(t, folder, "results.json", []byte("ended well"))
	if err := c.Keep(true); err != nil {
		t.Fatal(err)
	}
	_, other := pod(t, client)
	if content(t, other, "identity/agent.json") != "who" || content(t, other, "results.json") != "ended well" || content(t, other, "assignments.pb") != "" {
		t.Error("the copy is not what fits into a secret")
	}
}

func TestAnUnchangedFolderIsNotWritten(t *testing.T) {
	t.Parallel()
	client := cluster()
	c, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	for range 3 {
		if err := c.Keep(true); err != nil {
			t.Fatal(err)
		}
	}
	writes := 0
	for _, action := range client.Actions() {
		if action.GetVerb() == "update" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes, want 1", writes)
	}
}

func TestTwoPodsAreNotOneAgent(t *testing.T) {
	t.Parallel()
	client := cluster()
	client.PrependReactor("update", "secrets", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, kerrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "state", nil)
	})
	c, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: "state"}, Data: map[string][]byte{"state.tar.gz": []byte("another's")}}
	if err := client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, other, "fairlead"); err != nil {
		t.Fatal(err)
	}
	if err := c.Keep(true); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("Keep over another pod's state: %v, want a conflict", err)
	}
}

// TestAPodThatStoodByTakesWhatTheOtherLeft: what it has itself is older then.
func TestAPodThatStoodByTakesWhatTheOtherLeft(t *testing.T) {
	t.Parallel()
	client := cluster()
	first, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	write(t, folder, "revoked", []byte("once"))
	write(t, folder, "update.json", []byte("handover"))
	write(t, folder, "seen.json", []byte("what the first saw"))
	write(t, folder, "spool/1", []byte("what it has still to tell"))
	if err := first.Keep(true); err != nil {
		t.Fatal(err)
	}
	second, other := pod(t, client)
	write(t, other, "update.json", []byte("committed"))
	if err := os.Remove(filepath.Join(other, "revoked")); err != nil {
		t.Fatal(err)
	}
	if err := second.Keep(true); err != nil {
		t.Fatal(err)
	}
	if err := first.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"identity/agent.json": "who", "update.json": "committed", "revoked": "", "seen.json": "", "spool/1": "what it has still to tell",
	} {
		if got := content(t, folder, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestAWriteWhoseAnswerWasLostIsNoOtherPod, neither for this process nor for the
// next one on the same folder.
func TestAWriteWhoseAnswerWasLostIsNoOtherPod(t *testing.T) {
	t.Parallel()
	client := cluster()
	c, folder := pod(t, client)
	write(t, folder, "identity/agent.json", []byte("who"))
	if err := c.Keep(true); err != nil {
		t.Fatal(err)
	}
	lost := true
	client.PrependReactor("update", "secrets", func(action ktesting.Action) (bool, runtime.Object, error) {
		update, _ := action.(ktesting.UpdateAction)
		secret, _ := update.GetObject().(*corev1.Secret)
		if !lost {
			return true, nil, kerrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "state", nil)
		}
		lost = false
		arrived := secret.DeepCopy()
		if err := client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, arrived, "fairlead"); err != nil {
			t.Error(err)
		}
		return true, nil, kerrors.NewServerTimeout(schema.GroupResource{Resource: "secrets"}, "update", 1)
	})
	write(t, folder, "update.json", []byte("handover"))
	if err := c.Keep(true); err == nil {
		t.Fatal("a write without an answer is taken for done")
	}
	write(t, folder, "update.json", []byte("failed"))
	if err := c.Keep(true); err == nil || apperr.Is(err, apperr.Conflict) {
		t.Errorf("after a lost answer: %v, want it to be tried again", err)
	}
	again := statecopy.New(statecopy.Config{Client: client, Namespace: "fairlead", Name: "state", Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err := again.Restore(t.Context()); err != nil || content(t, folder, "update.json") != "failed" {
		t.Errorf("Restore: %v, the folder holds %q, want what it held", err, content(t, folder, "update.json"))
	}
}

func TestRestoreSaysWhatToDoWithoutASecret(t *testing.T) {
	t.Parallel()
	c := statecopy.New(statecopy.Config{Client: fake.NewClientset(), Namespace: "fairlead", Name: "state", Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err := c.Restore(t.Context()); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("Restore without a secret: %v", err)
	}
}
