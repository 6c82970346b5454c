package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
)

const (
	// maxKnown is how many commands the journal remembers.
	maxKnown = 1024
	// compactBytes is from where on the file is written anew when most of it
	// is history.
	compactBytes = 1 << 20
	// maxJournalBytes bounds what is read back.
	maxJournalBytes = 64 << 20
)

// journal remembers commands by id over restarts of the agent, so that one
// delivered again is not carried out again: a command is on the disk before its
// effect begins. It is safe for concurrent use; asking what it knows and noting
// acknowledgements do not wait for the disk.
type journal struct {
	path  string
	agent string
	now   func() time.Time
	// sync brings what was written to the disk.
	sync func(*os.File) error

	io   sync.Mutex // held while the file is written; taken before mu
	file *os.File
	size int64 // of what was written well
	// torn is whether something may follow that was not.
	torn bool

	mu      sync.Mutex
	entries map[string]*entry
	order   []*entry // as they began
	acked   []string // acknowledgements that are not in the file yet
}

// openJournal reads the journal of the agent, if there is one, and writes it
// anew without what is over. What another agent left is dropped. On a disk that
// is full the agent's own is used as it is.
func openJournal(path, agent string, now func() time.Time) (*journal, error) {
	return openJournalWith(path, agent, now, (*os.File).Sync)
}

func openJournalWith(path, agent string, now func() time.Time, sync func(*os.File) error) (*journal, error) {
	j := &journal{path: path, agent: agent, now: now, sync: sync, entries: map[string]*entry{}}
	content, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("read the journal of commands: %w", err)
	}
	of, entries, good := read(content)
	if of == agent {
		j.order = entries
	}
	for _, e := range j.order {
		j.entries[e.id] = e
	}
	err = j.rewrite()
	if err != nil && of == agent && j.file == nil {
		var openErr error
		if j.file, openErr = os.OpenFile(path, os.O_RDWR, 0); openErr == nil {
			j.size, j.torn = int64(good), good < len(content)
			return j, nil
		}
		err = errors.Join(err, openErr)
	}
	if err != nil {
		return nil, fmt.Errorf("open the journal of commands: %w", err)
	}
	return j, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxJournalBytes))
}

func (j *journal) close() error { return j.file.Close() }

// known returns how a command ended, nil while it runs.
func (j *journal) known(id string) (result *agentv1.CommandResult, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.entries[id]
	if e == nil {
		return nil, false
	}
	return e.result, true
}

// begin writes that a command begins. When it returns nil that is on the disk;
// else nothing may begin.
func (j *journal) begin(id string, until time.Time) error {
	return j.enter(&entry{id: id, until: until}, line{What: "begin", ID: id, Until: until})
}

// refuse writes that a command ended without having begun.
func (j *journal) refuse(result *agentv1.CommandResult, until time.Time) error {
	id := result.GetId()
	return j.enter(&entry{id: id, until: until, result: result}, line{What: "begin", ID: id, Until: until}, endOf(result))
}

func (j *journal) enter(e *entry, lines ...line) error {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.Lock()
	err := j.room()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.write(true, lines...); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "the node cannot note the command on its disk, so it was not carried out")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[e.id] = e
	j.order = append(j.order, e)
	return nil
}

// end writes how a command ended. The result is kept even when that fails; a
// restarted agent then does not know it.
func (j *journal) end(result *agentv1.CommandResult) error {
	j.io.Lock()
	defer j.io.Unlock()
	err := j.write(true, endOf(result))
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.entries[result.GetId()]; e != nil {
		e.result = result
	}
	return err
}

// ack notes that the controller has the result; flush writes it. Losing that to
// a crash only means that the result is sent again.
func (j *journal) ack(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.entries[id]; e != nil && !e.acked {
		e.acked = true
		j.acked = append(j.acked, id)
	}
}

// flush writes what was acknowledged, and the whole file anew when most of it
// is history.
func (j *journal) flush() error {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.Lock()
	var lines []line
	for _, id := range j.acked {
		lines = append(lines, line{What: "ack", ID: id})
	}
	j.acked = nil
	j.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	if err := j.write(false, lines...); err != nil {
		return err
	}
	if j.size > compactBytes {
		return j.rewrite()
	}
	return nil
}

// room makes sure that one more command can be remembered; j.mu is held.
func (j *journal) room() error {
	if len(j.order) < maxKnown {
		return nil
	}
	if j.prune(); len(j.order) < maxKnown {
		return nil
	}
	// The results nobody asked for the longest go first; the commands they are
	// of have long expired.
	now := j.now()
	i := slices.IndexFunc(j.order, func(e *entry) bool { return e.result != nil && now.After(e.until) })
	if i < 0 {
		return apperr.New(apperr.TooMany, "the node was given %d commands within an hour or so; wait", maxKnown)
	}
	delete(j.entries, j.order[i].id)
	j.order = slices.Delete(j.order, i, i+1)
	return nil
}

// prune forgets commands that are over and cannot come again; j.mu is held.
func (j *journal) prune() {
	now := j.now()
	j.order = slices.DeleteFunc(j.order, func(e *entry) bool {
		over := e.acked && e.result != nil && now.After(e.until)
		if over {
			delete(j.entries, e.id)
		}
		return over
	})
}

// write appends lines. What was written in part is taken back, so that it does
// not hide what comes after it. j.io is held.
func (j *journal) write(sync bool, lines ...line) error {
	var b []byte
	for _, l := range lines {
		var err error
		if b, err = l.append(b); err != nil {
			return err
		}
	}
	if j.torn {
		if err := j.file.Truncate(j.size); err != nil {
			return fmt.Errorf("mend the journal of commands: %w", err)
		}
		j.torn = false
	}
	_, err := j.file.WriteAt(b, j.size)
	if err == nil && sync {
		err = j.sync(j.file)
	}
	if err != nil {
		j.torn = true
		return fmt.Errorf("write the journal of commands: %w", err)
	}
	j.size += int64(len(b))
	return nil
}

// rewrite replaces the file by one that holds the present entries alone; j.io
// is held.
func (j *journal) rewrite() (err error) {
	j.mu.Lock()
	j.prune()
	lines := []line{{What: "agent", ID: j.agent}}
	for _, e := range j.order {
		lines = append(lines, line{What: "begin", ID: e.id, Until: e.until})
		if e.result != nil {
			lines = append(lines, endOf(e.result))
		}
		if e.acked {
			lines = append(lines, line{What: "ack", ID: e.id})
		}
	}
	j.mu.Unlock()
	folder := filepath.Dir(j.path)
	file, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	next := &journal{file: file, sync: j.sync}
	err = next.write(true, lines...)
	if err == nil {
		err = os.Rename(file.Name(), j.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return errors.Join(err, file.Close())
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.size, j.torn = file, next.size, false
	return syncFolder(folder)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
