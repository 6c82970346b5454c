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
		return account{uid: self(), gid: uint32(os.Getegid())}, nil
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
	return uint32(os.Geteuid())
}

// command prepares a program of the server's to run as the account in a
// folder, with a small environment: PG* variables of the caller must not reach it. It
// is killed when ctx ends.
func (a account) command(ctx context.Context, in folder, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = in.path
	if in.door != nil {
		// The child changes folder before it gets the file as number 3.
		cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", in.door.Fd())
		cmd.ExtraFiles = []*os.File{in.door}
	}
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
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs the x bit
		return fmt.Errorf("close folder to others: %w", err)
	}
	return nil
}

// folder is one the server's account works in.
type folder struct {
	path string
	// door is the open folder, where the account cannot get to path.
	door *os.File
}

// name is what a program started in the folder by command calls it.
func (f folder) name() string {
	if f.door != nil {
		return "/proc/self/fd/3" // the first of exec.Cmd.ExtraFiles
	}
	return f.path
}

func (f folder) close() {
	if f.door != nil {
		_ = f.door.Close()
	}
}

// enter finds a way for the account into the folder at path. A state folder
// often lies in a home, root's too, that is closed to others. Where the system
// can name an open folder (Linux), the account is then handed the folder and
// nothing on the way to it; else the error names what is closed.
func (a account) enter(ctx context.Context, path string, b binaries) (folder, error) {
	straight := folder{path: path}
	err := a.tryIn(ctx, straight, b)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return straight, err
	}
	door, openErr := os.Open(path)
	if openErr != nil {
		return folder{}, fmt.Errorf("open folder: %w", openErr)
	}
	handed := folder{path: path, door: door}
	if a.tryIn(ctx, handed, b) == nil {
		return handed, nil
	}
	handed.close()
	for _, target := range []string{b.dir, path} {
		if closed := a.closedParent(target); closed != "" {
			return folder{}, fmt.Errorf("the built-in PostgreSQL runs as user id %d, which cannot enter %s on the way to %s: "+
				"chmod o+x %s, or set FAIRLEAD_STATE_DIR to a folder that everyone may pass through, such as /var/lib/fairlead",
				a.uid, closed, target, closed)
		}
	}
	return folder{}, fmt.Errorf("user id %d cannot work in %s with the programs in %s: %w", a.uid, path, b.dir, err)
}

// tryIn checks that the account can enter the folder and run the server by
// doing so: modes alone do not tell, there are access lists and more.
func (a account) tryIn(ctx context.Context, f folder, b binaries) error {
	if err := a.command(ctx, f, b.path("postgres"), "--version").Run(); err != nil {
		return fmt.Errorf("run %s in %s as user id %d: %w", b.path("postgres"), f.path, a.uid, err)
	}
	return nil
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
