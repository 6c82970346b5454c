package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who the server runs as. PostgreSQL refuses to run as root, so a
// controller that is root gives it an account without rights.
type account struct {
	uid, gid uint32
	// drop is true when the controller is root and must become this account
	// to start the server.
	drop bool
}

// chooseAccount returns the controller's own account, or, when that is root,
// the owner of the data folder, else "postgres", else "nobody".
func chooseAccount(dataDir string) (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: self(), gid: uint32(os.Getegid())}, nil //nolint:gosec // the system's type is 32 bits wide
	}
	if info, err := os.Stat(dataDir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return account{uid: stat.Uid, gid: stat.Gid, drop: true}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("user %s has the id %q, which is no number", name, found.Uid)
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("user %s has the group id %q, which is no number", name, found.Gid)
		}
		if uid != 0 {
			return account{uid: uint32(uid), gid: uint32(gid), drop: true}, nil
		}
	}
	return account{}, errors.New("the built-in PostgreSQL cannot run as root and there is no user postgres or nobody: " +
		"create one (useradd --system postgres), run the controller as another user, or set DATABASE_URL")
}

// self is the user the controller runs as.
func self() uint32 {
	return uint32(os.Geteuid()) //nolint:gosec // the system's type is 32 bits wide
}

// command prepares a program of the server's to run as the account in dir,
// with a small environment: PG* variables of the caller must not reach it. It
// is killed when ctx ends.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// privateDir makes sure that dir is a real folder of the account's with mode
// 0700; where it can, it makes it so.
func (a account) privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok {
		return fmt.Errorf("%s is not a folder: move it away", dir)
	}
	// Another user's folder may hold another user's traps. Only what is
	// root's, when we are, may be taken over.
	if stat.Uid != a.uid && stat.Uid != self() {
		return fmt.Errorf("folder %s belongs to user id %d, not to %d: move it away", dir, stat.Uid, a.uid)
	}
	if a.drop {
		if err := os.Lchown(dir, int(a.uid), int(a.gid)); err != nil {
			return fmt.Errorf("give folder to the server's user: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close folder to others: %w", err)
	}
	return nil
}

// canReach checks that the account can enter dir, by entering it: modes alone
// do not tell, there are access lists and more. The error names the folder on
// the way that is closed.
func (a account) canReach(ctx context.Context, dir string, b binaries) error {
	if !a.drop {
		return nil
	}
	probe := a.command(ctx, dir, b.path("postgres"), "--version")
	err := probe.Run()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("run %s as user id %d: %w", probe.Path, a.uid, err)
	}
	for _, target := range []string{dir, b.dir} {
		if closed := a.closedParent(target); closed != "" {
			return fmt.Errorf("the built-in PostgreSQL runs as user id %d, which cannot enter %s on the way to %s: "+
				"chmod o+x %s, or set FAIRLEAD_STATE_DIR to a folder that everyone may pass through, such as /var/lib/fairlead",
				a.uid, closed, target, closed)
		}
	}
	return fmt.Errorf("user id %d cannot enter %s or run %s: %w", a.uid, dir, probe.Path, err)
}

// closedParent returns the outermost folder on the way to dir whose mode does
// not let the account pass, or "".
func (a account) closedParent(dir string) string {
	closed := ""
	for ; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				execute := fs.FileMode(0o001)
				switch {
				case stat.Uid == a.uid:
					execute = 0o100
				case stat.Gid == a.gid:
					execute = 0o010
				}
				if info.Mode()&execute == 0 {
					closed = dir
				}
			}
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
	}
}
