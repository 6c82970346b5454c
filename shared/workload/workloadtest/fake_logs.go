package workloadtest

import (
	"context"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Logs reads the log of a container.
func (f *FakeDriver) Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error {
	name := spec.ContainerName(id.Prefix, id.Name)
	if err := f.do(ctx, Op{Name: "logs", Container: name}); err != nil {
		return err
	}
	for next, first := 0, true; ; first = false {
		f.mu.Lock()
		c, ok := f.containers[name]
		if !ok || c.Managed && !c.under(id.Prefix) {
			f.mu.Unlock()
			if first {
				return apperr.New(apperr.NotFound, "read the log of container %s: there is none of that name", name)
			}
			return nil
		}
		if first && opts.Tail >= 0 {
			next = max(0, len(c.log)-opts.Tail)
		}
		next = min(next, len(c.log)) // the name may have gone to a newer container
		lines := append([]workload.LogLine(nil), c.log[next:]...)
		next += len(lines)
		ended, changed := c.State == spec.StateExited, f.changed
		flood := ""
		if opts.Follow && !ended {
			flood = c.flood
		}
		f.mu.Unlock()

		for _, l := range lines {
			if l.Time.Before(opts.Since) {
				continue
			}
			if err := line(l); err != nil {
				return err
			}
		}
		if ended || !opts.Follow {
			return nil
		}
		if err := f.pour(flood, changed, ctx.Done(), line); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// pour writes a flood of lines until something changes; nothing when there is
// no flood.
func (f *FakeDriver) pour(text string, changed, done <-chan struct{}, line func(workload.LogLine) error) error {
	for text != "" {
		select {
		case <-changed:
			return nil
		case <-done:
			return nil
		default:
		}
		if err := line(workload.LogLine{Time: f.options.Now(), Stream: workload.StreamStdout, Text: text}); err != nil {
			return err
		}
	}
	return nil
}
