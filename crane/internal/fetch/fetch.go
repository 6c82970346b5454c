// Package fetch is what the agent's program does as an init container: it puts
// files into a volume of the pod, before anything else of the pod runs.
package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"fairlead.dev/shared/bucket"
	"fairlead.dev/shared/filler"
	"fairlead.dev/shared/spec"
)

// Words that follow the program's name.
const (
	// Storage makes a volume hold what a bucket holds. The words after it are the
	// owner of the files, -1 for whoever runs this, and the volume's folder; the
	// bucket is in the variables.
	Storage = "storage"
	// Provide copies this program to the file that the next word names, for
	// a container of another image.
	Provide = "provide"
	// Mirror and Overlay copy a folder into a volume: the next words name both.
	// Mirror also removes what the folder does not have.
	Mirror  = filler.VerbMirror
	Overlay = filler.VerbOverlay
)

// Variables that say which bucket it is. Without keys it is a public one.
const (
	VariableURL    = "FAIRLEAD_STORAGE_URL"
	VariableBucket = "FAIRLEAD_STORAGE_BUCKET"
	VariableAccess = "FAIRLEAD_STORAGE_ACCESS_KEY"
	VariableSecret = "FAIRLEAD_STORAGE_SECRET_KEY"
)

// Run does what the words say, and tells out what it did.
func Run(ctx context.Context, words []string, getenv func(string) string, out io.Writer) error {
	verb := ""
	if len(words) > 0 {
		verb = words[0]
	}
	switch {
	case verb == Storage && len(words) == 3:
		return fromStorage(ctx, words[1], words[2], getenv, out)
	case verb == Provide && len(words) == 2:
		return provide(words[1])
	case (verb == Mirror || verb == Overlay) && len(words) == 3:
		return filler.RunIn(words[:1], words[1], words[2], nil, nil)
	default:
		return fmt.Errorf("unknown words %q", words)
	}
}

// fromStorage lets the filler talk with itself: on Docker the agent is the other
// side, here there is no agent.
func fromStorage(ctx context.Context, owner, target string, getenv func(string) string, out io.Writer) error {
	if _, err := strconv.Atoi(owner); err != nil {
		return fmt.Errorf("read the owner of the files: %w", err)
	}
	asked := spec.Storage{URL: getenv(VariableURL), Bucket: getenv(VariableBucket)}
	if key := getenv(VariableAccess); key != "" {
		asked.Keys = &spec.StorageKeys{Access: key, Secret: getenv(VariableSecret)}
	}
	// Whatever this pod reaches its main container reaches as well: no address
	// needs to be kept from it.
	source, err := bucket.Open(asked, true)
	if err != nil {
		return err
	}
	objects, err := source.List(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.Name
	}
	if err := filler.CheckNames(names); err != nil {
		return fmt.Errorf("the names in bucket %s cannot be files of a volume: %w", asked.Bucket, err)
	}
	toFiller, files := io.Pipe()
	fromFiller, said := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		err := filler.RunIn([]string{filler.VerbReceive, owner}, "", target, toFiller, said)
		// Whoever still speaks with it is told why it does not listen.
		_ = toFiller.CloseWithError(err)
		_ = said.CloseWithError(err)
		filled <- err
	}()
	fetched, err := send(ctx, source, objects, names, files, bufio.NewReader(fromFiller))
	_ = files.CloseWithError(err) // nil is the end of the files
	if fillErr := <-filled; fillErr != nil && !errors.Is(fillErr, err) {
		err = errors.Join(err, fillErr)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d files, %d of them fetched\n", len(objects), fetched)
	return err
}

// send sends what the volume does not have, and returns how many files that was.
func send(ctx context.Context, source *bucket.Bucket, objects []bucket.Object, names []string, to io.Writer, from *bufio.Reader) (fetched int, err error) {
	has, err := filler.ReadIndex(from)
	if err != nil {
		return 0, err
	}
	sender := filler.Send(to)
	for _, o := range objects {
		if known, ok := has[o.Name]; ok && o.ETag != "" && known.ETag == o.ETag && known.Size == o.Size {
			continue
		}
		if err := sendOne(ctx, source, sender, o); err != nil {
			return fetched, err
		}
		fetched++
	}
	return fetched, sender.End(names)
}

func sendOne(ctx context.Context, source *bucket.Bucket, sender *filler.Sender, o bucket.Object) (err error) {
	content, err := source.Fetch(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	return sender.File(o.Name, o.ETag, o.Size, content)
}

// provide copies this program, which needs no library.
func provide(name string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	from, err := os.Open(filepath.Clean(self))
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755) //nolint:gosec // a program is to be run, by whatever user the other container has
	if err != nil {
		return fmt.Errorf("write this program: %w", err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("write this program: %w", err)
	}
	return nil
}
