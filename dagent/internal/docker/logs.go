package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// maxLine is where a line without an end is cut.
const maxLine = 64 << 10

// Logs reads the log of a container; of one that is gone, what was kept of it. A
// name that ends with ".release-" and a number asks for the log of the container
// that served in that release.
func (d *Driver) Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error {
	id, release := splitRelease(id)
	seen, err := d.find(ctx, id)
	if err == nil && !served(seen, release) {
		err = apperr.New(apperr.NotFound, "find container %s of release %d: it is gone, and no log of it is kept", id.Name, release)
	}
	if apperr.Is(err, apperr.NotFound) {
		return d.readKept(id, release, err, opts, line)
	}
	if err != nil {
		return err
	}
	return d.readLog(ctx, seen, opts, line)
}

func (d *Driver) readLog(ctx context.Context, seen container.InspectResponse, opts workload.LogOptions, line func(workload.LogLine) error) (err error) {
	tail := "all"
	if opts.Tail >= 0 {
		tail = strconv.Itoa(opts.Tail)
	}
	since := ""
	if !opts.Since.IsZero() {
		since = opts.Since.UTC().Format(time.RFC3339Nano)
	}
	stream, err := d.engine.ContainerLogs(ctx, seen.ID, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: opts.Follow, Tail: tail, Since: since,
	})
	if err != nil {
		return logError(seen, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()

	stdout := &lineWriter{stream: "stdout", emit: line}
	stderr := &lineWriter{stream: "stderr", emit: line}
	if seen.Config != nil && seen.Config.Tty {
		err = copyTerminal(stdout, stream)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, stream)
	}
	switch {
	case stdout.refused != nil:
		return stdout.refused
	case stderr.refused != nil:
		return stderr.refused
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return logError(seen, err)
	}
	return errors.Join(stdout.flush(), stderr.flush())
}

// logError says which driver it is when a log can't be read because of it.
func logError(seen container.InspectResponse, err error) error {
	name := strings.TrimPrefix(seen.Name, "/")
	if seen.HostConfig != nil && strings.Contains(err.Error(), "does not support reading") {
		return apperr.Wrap(apperr.Unsupported, err,
			"read the log of container %s: the log driver %s of its configuration (logConfig) or of its node keeps none that can be read here", name, seen.HostConfig.LogConfig.Type)
	}
	return engineError(err, "read the log of container %s", name)
}

// copyTerminal writes the log of a terminal, which has no frames, message by
// message.
func copyTerminal(w io.Writer, r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		text, err := lines.ReadSlice('\n')
		if len(text) > 0 {
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// lineWriter makes log lines of the messages of one stream. Each Write is one
// message: a time, a space and text. The engine cuts long lines into several
// messages, of which only the last ends with a line break.
type lineWriter struct {
	stream string
	emit   func(workload.LogLine) error
	// refused is the error that emit returned.
	refused error

	pending bytes.Buffer
	at      time.Time
}

func (w *lineWriter) Write(message []byte) (int, error) {
	text := message
	if stamp, rest, ok := bytes.Cut(message, []byte(" ")); ok {
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
			text = rest
			if w.pending.Len() == 0 {
				w.at = at
			}
		}
	}
	for len(text) > 0 {
		part, rest, ended := bytes.Cut(text, []byte("\n"))
		room := maxLine - w.pending.Len()
		if len(part) > room {
			part, rest, ended = text[:room], text[room:], true
		}
		w.pending.Write(part)
		text = rest
		if !ended {
			break
		}
		if err := w.send(); err != nil {
			return 0, err
		}
	}
	return len(message), nil
}

// flush sends what is left of a line without an end.
func (w *lineWriter) flush() error {
	if w.pending.Len() == 0 {
		return nil
	}
	return w.send()
}

func (w *lineWriter) send() error {
	text := strings.ToValidUTF8(strings.TrimSuffix(w.pending.String(), "\r"), "�")
	w.pending.Reset()
	w.refused = w.emit(workload.LogLine{Time: w.at, Stream: w.stream, Text: text})
	return w.refused
}
