package docker

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/keptlog"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

const (
	// keptLines is how many lines of a log are read to be kept.
	keptLines = 10_000
	// keptPatience is how long that may hold a removal up.
	keptPatience = 10 * time.Second
)

// ofRelease is what a container's name ends with, in a question for its log, to
// ask for the one that a release had.
var ofRelease = regexp.MustCompile(`\.release-([1-9][0-9]{0,17})$`)

// splitRelease takes the number of a release off a container's name.
func splitRelease(id workload.ContainerID) (workload.ContainerID, int64) {
	match := ofRelease.FindStringSubmatch(id.Name)
	if match == nil {
		return id, 0
	}
	id.Name = strings.TrimSuffix(id.Name, match[0])
	release, _ := strconv.ParseInt(match[1], 10, 64) // at most 18 digits
	return id, release
}

// served reports whether a container served in a release: it is of that one or of
// an earlier one, and is still there. 0 is any release.
func served(seen container.InspectResponse, release int64) bool {
	if release == 0 {
		return true
	}
	if !isManaged(seen) {
		return false
	}
	of, err := strconv.ParseInt(seen.Config.Labels[labelRelease], 10, 64)
	return err == nil && of <= release
}

// readKept reads the log of a container that is gone. Where there is none it
// returns why there is no container.
func (d *Driver) readKept(id workload.ContainerID, release int64, missing error, opts workload.LogOptions, line func(workload.LogLine) error) error {
	if d.options.KeptLogs == nil || id.Prefix == "" {
		return missing
	}
	err := d.options.KeptLogs.Read(keptName(id.Prefix, id.Name), release, opts, line)
	if apperr.Is(err, apperr.NotFound) {
		return missing
	}
	return err
}

// keepLog keeps the end of the log of a container that is about to be removed.
// It does not keep the container from being removed.
func (d *Driver) keepLog(ctx context.Context, o owned) {
	if d.options.KeptLogs == nil || o.place == placeInit || o.place == placeNext {
		return
	}
	name := o.engineName
	if o.place == placePrevious || o.adopted != "" {
		name = o.base
	}
	ctx, cancel := context.WithTimeout(ctx, keptPatience)
	defer cancel()
	key := keptlog.Key{Container: keptName(o.prefix, strings.TrimPrefix(name, o.prefix+"-")), Release: o.release, ID: o.id}
	err := d.options.KeptLogs.Keep(key, func(line func(workload.LogLine) error) error {
		seen, err := d.engine.ContainerInspect(ctx, o.id)
		if err != nil {
			return engineError(err, "look at container %s", name)
		}
		return d.readLog(ctx, seen, workload.LogOptions{Tail: keptLines}, line)
	})
	if err != nil && !apperr.Is(err, apperr.NotFound) && !apperr.Is(err, apperr.Unsupported) {
		d.options.Logger.Warn("keep the log of a container that is removed", "container", name, "error", err)
	}
}

// keptName is what the log of a container is kept under.
func keptName(prefix, name string) string { return prefix + "/" + name }
