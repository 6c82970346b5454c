package memory

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// forgetProgram takes the pages of the program's own file out of this process
// that can be read from it again. Most of them were needed for the start, or for
// what was done since, and not for the rest that comes; the kernel keeps what it
// has room for, so that those which are needed after all cost no reading. A part
// of the file that has been changed in memory is left alone.
func forgetProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	parts, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer func() { _ = parts.Close() }() // only read from
	var from, to uintptr
	lines := bufio.NewScanner(parts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case strings.HasSuffix(fields[0], ":"): // what is said of a part
			if to > from && fields[0] == "Anonymous:" && fields[1] == "0" {
				if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); errno != 0 {
					return errno
				}
			}
		default: // where a part is, and of what
			from, to = 0, 0
			if len(fields) > 5 && fields[5] == program && !strings.Contains(fields[1], "w") {
				if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
					return fmt.Errorf("read where %s is in memory: %w", program, err)
				}
			}
		}
	}
	return lines.Err()
}
