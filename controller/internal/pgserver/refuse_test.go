package pgserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"fairlead.dev/controller/internal/pgserver"
)

func TestNoBinariesIsOneClearError(t *testing.T) {
	cfg := config(t)
	cfg.BinDirs = []string{}
	t.Setenv("PATH", t.TempDir())
	_, err := pgserver.Start(t.Context(), cfg)
	if !errors.Is(err, pgserver.ErrNoBinaries) {
		t.Fatalf("error %v, want ErrNoBinaries", err)
	}
	wantError(t, err, "apt-get install postgresql", "DATABASE_URL")
}

func TestOldBinariesAreNotUsed(t *testing.T) {
	cfg := config(t)
	old := t.TempDir()
	cfg.BinDirs = []string{old}
	t.Setenv("PATH", "")
	program(t, old, "initdb", "exit 1")
	program(t, old, "postgres", `echo "postgres (PostgreSQL) 9.6.24"`)
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "found 9, which is too old", "apt-get install postgresql")
}

func TestForeignFoldersAreLeftAlone(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"data of another major": {map[string]string{"PG_VERSION": "99\n"}, "made by PostgreSQL 99"},
		"broken version":        {map[string]string{"PG_VERSION": "x"}, "want a major version"},
		"something else":        {map[string]string{"thesis.txt": "years of work"}, "no PostgreSQL data folder"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			dataDir := filepath.Join(cfg.StateDir, "postgres")
			if err := os.Mkdir(dataDir, 0o755); err != nil {
				t.Fatal(err)
			}
			for file, content := range test.files {
				if err := os.WriteFile(filepath.Join(dataDir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := pgserver.Start(t.Context(), cfg)
			wantError(t, err, test.want, dataDir, "nothing was changed")
			for file, content := range test.files {
				if got, err := os.ReadFile(filepath.Join(dataDir, file)); err != nil || string(got) != content {
					t.Errorf("%s is now %q (%v)", file, got, err)
				}
			}
		})
	}
}

func TestProgramsBehindAClosedFolderAreNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: the server runs as this user, and no folder is closed to it alone")
	}
	cfg := config(t)
	closed := closedFolder(t, cfg)
	program(t, closed, "initdb", "exit 1")
	program(t, closed, "postgres", `echo "postgres (PostgreSQL) 99.1"`)
	cfg.BinDirs = []string{closed}
	t.Setenv("PATH", "")
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "cannot enter "+closed+" ", "chmod o+x "+closed)
}

func TestFailedStartShowsTheServersOwnWords(t *testing.T) {
	cfg := config(t)
	cfg.Settings["shared_buffers"] = "many"
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "shared_buffers")
}

func TestSecondControllerOnTheSameFolderIsRefused(t *testing.T) {
	cfg := config(t)
	first := start(t, cfg)
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "in use by another controller", strconv.Itoa(os.Getpid()), "FAIRLEAD_STATE_DIR")
	if got := query(t, first.DSN(), `SELECT 1::text`); got != "1" {
		t.Fatalf("the first server answered %q, want 1", got)
	}
}
