package memory_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"fairlead.dev/shared/memory"
)

// What a program needed for its start is not kept in memory for what it does at
// rest; and it goes on as if it were.
func TestTheProgramsFileIsLetGoOf(t *testing.T) {
	k := memory.New(memory.Options{Program: true})
	before := ofFiles(t)
	k.Forget()
	if after := ofFiles(t); after >= before {
		t.Errorf("there are %d KiB of files in memory, and were %d", after, before)
	}
}

// ofFiles is how much of files is in this process's memory, in KiB.
func ofFiles(t *testing.T) (n int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(status), "RssFile:")
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
