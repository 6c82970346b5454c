package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/bucket"
	"fairlead.dev/shared/filler"
	"fairlead.dev/shared/spec"
)

// Filler is the program that puts files into volumes, in a container of its
// own; see package filler.
type Filler struct {
	// Program is the file: an executable that needs no library.
	Program string
	// Words make it the filler; those of filler.Run follow them.
	Words []string
}

const (
	// nameSource and nameFiller cannot be names of init containers.
	nameSource = "-config"
	nameFiller = "-fill"
	// maxComplaint is how much of what the filler says of an error is told.
	maxComplaint = 2 << 10
)

// fillOnce fills the volumes of a workload that has any to fill, once for all
// containers of it. It ends early when halted does.
func (a *applying) fillOnce(ctx, halted context.Context, s *slot) error {
	if !fills(s.Container) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(halted, cancel)()
	a.filling.Lock()
	defer a.filling.Unlock()
	err, done := a.filled[s.Name()]
	if !done {
		err = a.fill(ctx, s)
		if a.filled == nil {
			a.filled = map[string]error{}
		}
		a.filled[s.Name()] = err
	}
	return err
}

// fill puts files into the workload's volumes before anything of it runs: those
// of the configuration container, then those of the storage.
func (a *applying) fill(ctx context.Context, s *slot) error {
	if cc := s.Container.ConfigContainer; cc != nil {
		a.story.Info(s.InstanceID, "copying %s of image %s into volume %s", cc.Path, cc.Image, cc.Volume)
		if err := a.fillFromImage(ctx, s, *cc, a.pulled[cc.Image].pinned); err != nil {
			return err
		}
	}
	if st := s.Container.Storage; hasStorage(s.Container) {
		told, err := a.fillFromStorage(ctx, s, *st)
		if err != nil {
			return err
		}
		a.story.Info(s.InstanceID, "filled volume %s from bucket %s: %s", st.Path, st.Bucket, told)
	}
	return nil
}

func hasStorage(c spec.Container) bool { return c.Storage != nil && c.Storage.StorageID != "" }

// fills reports whether files are put into the workload's volumes.
func fills(c spec.Container) bool { return c.ConfigContainer != nil || hasStorage(c) }

// refuseFills refuses what can't be filled.
func (d *Driver) refuseFills(c spec.Container, p *problems) {
	check := func(key, name string) {
		var found *spec.Volume
		for _, v := range c.Volumes {
			if v.Name == name {
				found = &v
			}
		}
		switch {
		case found == nil:
			p.invalid(key, "%q is not the name of one of the volumes", name)
		case isHostPath(name):
			p.unsupported(key, "folders of the host are not filled")
		case found.Type == spec.VolumeMemory || found.Type == spec.VolumeTemporary:
			p.unsupported(key, fmt.Sprintf("volume %q is of type %s and begins with its container", name, found.Type))
		}
	}
	if cc := c.ConfigContainer; cc != nil {
		checkImage("configContainer.image", cc.Image, p)
		check("configContainer.volume", cc.Volume)
		if !strings.HasPrefix(cc.Path, "/") || strings.Trim(cc.Path, "/") == "" {
			p.invalid("configContainer.path", "%q is not the path of a folder in the image", cc.Path)
		}
	}
	if hasStorage(c) {
		check("storage.path", c.Storage.Path)
		if strings.Trim(c.Storage.Bucket, "/") == "" {
			p.invalid("storage.bucket", "is missing")
		}
	}
}

// fillFromStorage makes a volume hold what a bucket holds. It returns what was
// done.
func (a *applying) fillFromStorage(ctx context.Context, s *slot, st spec.Storage) (told string, err error) {
	source, err := bucket.Open(st, a.options.Policy.LocalStorage)
	if err != nil {
		return "", err
	}
	objects, err := source.List(ctx)
	if err != nil {
		return "", err
	}
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.Name
	}
	if err := filler.CheckNames(names); err != nil {
		return "", apperr.Wrap(apperr.Invalid, err, "storage: the names in bucket %s cannot be files of a volume", st.Bucket)
	}
	uid := -1
	if s.Container.User != nil {
		uid = int(*s.Container.User)
	}
	fetched := 0
	err = a.runFiller(ctx, s, st.Path, []string{filler.VerbReceive, strconv.Itoa(uid)}, func(in io.Writer, out *bufio.Reader) error {
		index, err := filler.ReadIndex(out)
		if err != nil {
			return err
		}
		sender := filler.Send(in)
		for _, o := range objects {
			if known, ok := index[o.Name]; ok && o.ETag != "" && known.ETag == o.ETag && known.Size == o.Size {
				continue
			}
			fetched++
			if err := send(ctx, source, sender, o); err != nil {
				return err
			}
		}
		return sender.End(names)
	})
	return fmt.Sprintf("%d files, %d of them fetched", len(objects), fetched), err
}

func send(ctx context.Context, source *bucket.Bucket, sender *filler.Sender, o bucket.Object) (err error) {
	content, err := source.Fetch(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	return sender.File(o.Name, o.ETag, o.Size, content)
}

// runFiller has the filler work on a volume of the workload. It has no network,
// no other folder, and only the rights it needs for files of any owner. talk, if
// it is not nil, speaks with it.
func (a *applying) runFiller(ctx context.Context, s *slot, volume string, words []string, talk func(in io.Writer, out *bufio.Reader) error, more ...mount.Mount) (err error) {
	reference, err := a.fillerImage(ctx)
	if err != nil {
		return err
	}
	labels := workloadLabels(a.dep, s.Workload)
	labels[labelInit] = nameFiller
	target := mount.Mount{
		Type: mount.TypeVolume, Source: volumeName(a.dep.Prefix, s.Name(), volume), Target: filler.Target, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
	}
	made, err := a.engine.ContainerCreate(ctx,
		&container.Config{
			Image: reference, Labels: labels, Entrypoint: append([]string{"/filler"}, a.options.Filler.Words...), Cmd: words,
			User: "0:0", OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		},
		&container.HostConfig{
			NetworkMode: "none", ReadonlyRootfs: true, CapDrop: []string{allCapabilities}, CapAdd: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
			SecurityOpt: []string{"no-new-privileges"}, LogConfig: container.LogConfig{Type: "none"},
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}, Mounts: append([]mount.Mount{target}, more...),
		}, nil, nil, s.base+suffixInit+nameFiller)
	if err != nil {
		return engineError(err, "make the container that fills volume %s", volume)
	}
	defer func() {
		if discardErr := a.discard(context.WithoutCancel(ctx), made.ID); discardErr != nil {
			err = errors.Join(err, engineError(discardErr, "remove the container that fills volume %s", volume))
		}
	}()
	complaint, err := a.converse(ctx, made.ID, talk)
	ended, waitErr := a.awaitEnd(ctx, made.ID, a.bell)
	switch {
	case waitErr != nil:
		return errors.Join(err, apperr.Wrap(apperr.KindOf(waitErr), waitErr, "fill volume %s", volume))
	case ended.State.ExitCode != 0 && complaint != "":
		return errors.Join(apperr.New(apperr.Precondition, "fill volume %s: %s", volume, complaint), err)
	case err != nil:
		return err
	case ended.State.ExitCode != 0:
		return apperr.New(apperr.Internal, "fill volume %s: the filler ended with exit code %d", volume, ended.State.ExitCode)
	}
	return nil
}

// converse starts a container and speaks with it until it says no more. It
// returns what the container said on standard error.
func (a *applying) converse(ctx context.Context, id string, talk func(in io.Writer, out *bufio.Reader) error) (complaint string, err error) {
	stream, err := a.engine.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return "", engineError(err, "speak with the container that fills a volume")
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	if err := a.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return "", engineError(err, "start the container that fills a volume")
	}
	read, write := io.Pipe()
	said := &limited{room: maxComplaint}
	heard := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(write, said, stream.Reader)
		_ = write.CloseWithError(errors.Join(err, io.EOF))
		heard <- err
	}()
	if talk != nil {
		err = talk(stream.Conn, bufio.NewReader(read))
	}
	if err != nil {
		stream.Close() // what is half sent is never taken for all
	} else {
		err = stream.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, read)
	if hearErr := <-heard; err == nil && ctx.Err() == nil {
		err = hearErr
	}
	return strings.TrimSpace(said.String()), err
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	room int
}

func (l *limited) Write(text []byte) (int, error) {
	keep := text[:min(len(text), l.room)]
	l.room -= len(keep)
	l.Buffer.Write(keep)
	return len(text), nil
}

// fillerRepository is where the images with the filler are.
const fillerRepository = "fairlead/filler"

// fillerImage returns the image with the filler, which is made when it is not
// there: it holds one file, and its tag is that file's digest.
func (d *Driver) fillerImage(ctx context.Context) (string, error) {
	d.importing.Lock()
	defer d.importing.Unlock()
	program, err := os.ReadFile(d.options.Filler.Program)
	if err != nil {
		return "", fmt.Errorf("read the program that fills volumes: %w", err)
	}
	sum := sha256.Sum256(program)
	reference := fillerRepository + ":" + hex.EncodeToString(sum[:8])
	_, err = d.engine.ImageInspect(ctx, reference)
	if err == nil {
		return reference, nil
	}
	if !cerrdefs.IsNotFound(err) {
		return "", engineError(err, "look at image %s", reference)
	}
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	err = archive.WriteHeader(&tar.Header{Name: "filler", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = archive.Write(program)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		return "", fmt.Errorf("pack the program that fills volumes: %w", err)
	}
	answer, err := d.engine.ImageImport(ctx, image.ImportSource{Source: &packed, SourceName: "-"}, reference, image.ImportOptions{
		Changes: []string{"LABEL " + labelManaged + "=true"},
	})
	if err != nil {
		return "", engineError(err, "make image %s", reference)
	}
	_, err = io.Copy(io.Discard, answer)
	if err := errors.Join(err, answer.Close()); err != nil {
		return "", engineError(err, "make image %s", reference)
	}
	if err := d.sweepFillers(ctx, reference); err != nil {
		d.options.Logger.Warn("remove the images of earlier fillers", "error", err)
	}
	return reference, nil
}

// sweepFillers removes the fillers of earlier versions of the agent, but for the
// last. The engine has the last word: without force it removes none that a
// container uses. One that is missed is made again.
func (d *Driver) sweepFillers(ctx context.Context, current string) error {
	list, err := d.engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(
		filters.Arg("reference", fillerRepository), filters.Arg("label", labelManaged+"=true"),
	)})
	if err != nil {
		return engineError(err, "list the images %s", fillerRepository)
	}
	list = slices.DeleteFunc(list, func(i image.Summary) bool { return len(i.RepoTags) != 1 || i.RepoTags[0] == current })
	slices.SortFunc(list, func(a, b image.Summary) int { return cmp.Compare(b.Created, a.Created) })
	var errs []error
	for _, i := range list[min(1, len(list)):] {
		_, err := d.engine.ImageRemove(ctx, i.RepoTags[0], image.RemoveOptions{PruneChildren: true})
		if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
			errs = append(errs, engineError(err, "remove image %s", i.RepoTags[0]))
		}
	}
	return errors.Join(errs...)
}
