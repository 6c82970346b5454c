package pgserver

import (
	"errors"
	"io/fs"
	"testing"
)

func TestParseVersion(t *testing.T) {
	tests := map[string]int{
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18beta2\n":                        18,
		"postgres (PostgreSQL) 9.6.24\n":                         9,
		"postgres (GreatSQL) 15.1\n":                             0,
		"":                                                       0,
	}
	for line, want := range tests {
		got, err := parseVersion(line)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("parseVersion(%q) = %d, %v; want %d", line, got, err, want)
		}
	}
}

func TestParsePID(t *testing.T) {
	tests := map[string]struct {
		content string
		pid     int
		absent  bool
	}{
		"running":       {content: "4711\n/data\n1700000000\n", pid: 4711},
		"single user":   {content: "-4711\n", pid: 4711},
		"one line":      {content: "4711", pid: 4711},
		"empty":         {content: "", absent: true},
		"empty line":    {content: "\n/data\n", absent: true},
		"not a number":  {content: "x\n"},
		"init":          {content: "1\n"},
		"every process": {content: "-1\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pid, err := parsePID([]byte(test.content))
			if pid != test.pid || errors.Is(err, fs.ErrNotExist) != test.absent || (err == nil) != (pid != 0) {
				t.Fatalf("got %d, %v", pid, err)
			}
		})
	}
}

func FuzzParsePID(f *testing.F) {
	for _, seed := range []string{"", "4711\n/data\n", "-4711\n", "1", "-0\n", "99999999999999999999\n", "\x00\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		pid, err := parsePID(content)
		if err == nil && pid <= 1 {
			t.Fatalf("process id %d would signal more than a server", pid)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	f.Add("postgres (PostgreSQL) 15.14\n")
	f.Fuzz(func(t *testing.T, line string) {
		if major, err := parseVersion(line); err == nil && (major < 0 || major > 9999) {
			t.Fatalf("major version %d", major)
		}
	})
}
