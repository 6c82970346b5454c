// Package statecopy keeps a copy of the agent's state folder in a secret of the
// cluster, so that a pod that comes up on another node is the same agent.
//
// What is copied is small: the identity and its key, what is assigned, how it
// ended, and the journal of commands. What is not: facts that the controller
// has not been told yet, which go with the pod.
package statecopy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/shared/apperr"
)

const (
	// dataKey is the key of the secret that the copy is under.
	dataKey = "state.tar.gz"
	// callTimeout bounds a call of the API server.
	callTimeout = 30 * time.Second
	// period is how often files are looked at that nobody tells of.
	period = 2 * time.Second
)

// Config says what is copied where.
type Config struct {
	Client kubernetes.Interface
	// Namespace and Name are of the secret, which has to be there.
	Namespace, Name string
	// Folder is the agent's state folder.
	Folder string
	Log    *slog.Logger
}

// Copy is the copy of one folder.
type Copy struct {
	config Config
	// behind has something to read when the copy may be out of date.
	behind chan struct{}

	mu sync.Mutex
	// secret is as it was read or written last; kept is the sum of what it holds,
	// tried of what was written last without knowing that it arrived.
	secret      *corev1.Secret
	kept, tried sum
}

type sum [sha256.Size]byte

// New returns a copy. Restore comes first.
func New(config Config) *Copy {
	return &Copy{config: config, behind: make(chan struct{}, 1)}
}

// Restore reads the secret, and takes the folder from it when that holds no
// agent, or when another pod wrote the secret since this folder was copied to it:
// otherwise the folder is at least as new and stays. Unavailable: the API server
// does not answer.
func (c *Copy) Restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	secret, err := c.config.Client.CoreV1().Secrets(c.config.Namespace).Get(ctx, c.config.Name, metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return apperr.New(apperr.Precondition, "there is no secret %s in namespace %s for the agent's state: run its install script again",
			c.config.Name, c.config.Namespace)
	}
	if err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "read the agent's state from secret %s", c.config.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	packed := secret.Data[dataKey]
	there := sum(sha256.Sum256(packed))
	c.secret, c.kept = secret, there
	if len(packed) == 0 || holdsAgent(c.config.Folder) && !c.behindOf(there) {
		return nil
	}
	if err := unpack(packed, c.config.Folder); err != nil {
		return fmt.Errorf("take the agent's state from secret %s: %w", c.config.Name, err)
	}
	if err := c.note(there); err != nil {
		return err
	}
	c.config.Log.Info("the agent's state was taken from its secret", "secret", c.config.Name)
	return nil
}

// fileCopied has the sums of what the secret may hold of this folder: of its copy,
// and of one that was about to be written.
const fileCopied = "copied"

// note remembers with the folder what the secret holds of it, or will.
func (c *Copy) note(sums ...sum) error {
	var text strings.Builder
	for _, s := range sums {
		text.WriteString(hex.EncodeToString(s[:]) + "\n")
	}
	if err := os.WriteFile(filepath.Join(c.config.Folder, fileCopied), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("note what was copied to secret %s: %w", c.config.Name, err)
	}
	return nil
}

// behindOf reports whether the secret holds what never was in this folder.
func (c *Copy) behindOf(there sum) bool {
	noted, err := os.ReadFile(filepath.Join(c.config.Folder, fileCopied))
	return err == nil && !strings.Contains(string(noted), hex.EncodeToString(there[:]))
}

// holdsAgent reports whether a folder has an identity, or one in the making.
func holdsAgent(folder string) bool {
	for _, name := range []string{"identity/agent.json", "identity.new/key.pem"} {
		if _, err := os.Stat(filepath.Join(folder, name)); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// Keep brings the copy up to date: at once when the identity changed, else soon.
// It fails with Conflict when the secret was written by somebody else: then
// another pod is this agent now.
func (c *Copy) Keep(identity bool) error {
	if identity {
		return c.write(context.Background())
	}
	select {
	case c.behind <- struct{}{}:
	default:
	}
	return nil
}

// Run keeps the copy up to date until ctx ends, and once more then.
func (c *Copy) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	seen, failed := "", false
	for {
		select {
		case <-ctx.Done():
			return c.write(context.WithoutCancel(ctx))
		case <-c.behind:
			seen = ""
		case <-tick.C:
		}
		now := stamp(c.config.Folder)
		if now == seen {
			continue
		}
		if err := c.write(ctx); err != nil {
			if !failed && ctx.Err() == nil {
				c.config.Log.Warn("the copy of the agent's state is behind", "error", err)
			}
			failed = true
			continue // the next tick tries again
		}
		seen, failed = now, false
	}
}

// write writes the secret, unless it holds what the folder does.
func (c *Copy) write(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	packed, left, err := pack(c.config.Folder)
	if err != nil {
		return fmt.Errorf("copy the agent's state: %w", err)
	}
	if len(left) > 0 {
		c.config.Log.Warn("files of the agent's state are too large to be copied", "files", left)
	}
	next := sum(sha256.Sum256(packed))
	if next == c.kept || c.secret == nil {
		return nil
	}
	if err := c.note(c.kept, c.tried, next); err != nil {
		return err
	}
	changed := c.secret.DeepCopy()
	changed.Data = map[string][]byte{dataKey: packed}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	written, err := c.config.Client.CoreV1().Secrets(c.config.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	if kerrors.IsConflict(err) {
		return c.reconsider(ctx, packed, err)
	}
	if err != nil {
		c.tried = next
		return fmt.Errorf("write the agent's state to secret %s: %w", c.config.Name, err)
	}
	c.secret, c.kept, c.tried = written, next, sum{}
	return c.note(next)
}

// reconsider finds out what a conflict means: our own write, whose answer was
// lost, or somebody who changed labels, or another agent's state.
func (c *Copy) reconsider(ctx context.Context, packed []byte, conflict error) error {
	now, err := c.config.Client.CoreV1().Secrets(c.config.Namespace).Get(ctx, c.config.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the agent's state from secret %s: %w", c.config.Name, err)
	}
	there := sum(sha256.Sum256(now.Data[dataKey]))
	switch {
	case bytes.Equal(now.Data[dataKey], packed):
		c.secret, c.kept = now, there
		return nil
	case there == c.kept, there == c.tried:
		c.secret, c.kept = now, there
		return fmt.Errorf("write the agent's state to secret %s: %w", c.config.Name, conflict)
	default:
		return apperr.Wrap(apperr.Conflict, conflict, "secret %s holds the state of another pod of this agent: only one may run", c.config.Name)
	}
}
