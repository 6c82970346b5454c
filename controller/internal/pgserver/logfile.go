package pgserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

const (
	// keepLog is the size above which the next start begins a new log file,
	// keeping one old one.
	keepLog = 4 << 20

	followInterval = 500 * time.Millisecond
)

// openLog opens the file the server writes its log to. The server gets the
// file itself, not a pipe: it must be able to go on when we are gone.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > keepLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("rotate server log: %w", err)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at server log: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	return file, nil
}

// readLog returns the end of what was logged since offset.
func readLog(path string, offset int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size()-offset > outputLimit {
		offset = info.Size() - outputLimit
	}
	content, err := io.ReadAll(io.LimitReader(io.NewSectionReader(file, offset, outputLimit), outputLimit))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// followLog copies what the server logs from offset on to log, at debug,
// until ended is closed.
func followLog(path string, offset int64, log *slog.Logger, ended <-chan struct{}) {
	file, err := os.Open(path)
	if err != nil {
		log.Warn("cannot follow the PostgreSQL log", "error", err)
		return
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		log.Warn("cannot follow the PostgreSQL log", "error", err)
		return
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	lines := bufio.NewReader(file)
	partial := ""
	for last := false; ; {
		for {
			line, err := lines.ReadString('\n')
			if err != nil { // the end, for now
				partial += line
				break
			}
			log.Debug(strings.TrimSpace(partial + line))
			partial = ""
		}
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			last = true // one more round for its last words
		}
	}
}
