// Command ociimage builds a container image from static binaries and files and
// writes it as an archive for `docker load`, pushes it to a registry, or both.
//
//	ociimage --binary bin/app --platform linux/amd64 --tag app:1.0.0 --output app.tar
//	ociimage --binary bin/app --platform linux/amd64 --tag 127.0.0.1:5000/app:1.0.0 --push
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/shared/ociimage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

// request is what the command line asks for.
type request struct {
	binary, bill string
	spec         ociimage.Spec
	tag          string
	output       string
	push         bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	asked, err := parse(args, stderr)
	if err != nil {
		return err
	}
	image, err := ociimage.Build(asked.spec)
	if err != nil {
		return err
	}
	if asked.output != "" {
		if err := writeFile(asked.output, asked.tag, image); err != nil {
			return err
		}
	}
	if asked.bill != "" {
		name, version, _ := strings.Cut(asked.tag, ":")
		bill, err := ociimage.Bill(asked.output, asked.binary, name, version)
		if err != nil {
			return err
		}
		if err := os.WriteFile(asked.bill, bill, 0o644); err != nil { //nolint:gosec // it is published
			return fmt.Errorf("write %s: %w", asked.bill, err)
		}
	}
	if !asked.push {
		return nil
	}
	digest, err := ociimage.Push(ctx, asked.tag, image, ociimage.Credentials{
		Username: os.Getenv("OCIIMAGE_USERNAME"),
		Password: os.Getenv("OCIIMAGE_PASSWORD"),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, digest)
	return err
}

// parse reads the command line. The binary goes to the root of the image under
// its own name and is the entry point unless --entrypoint says otherwise.
func parse(args []string, stderr io.Writer) (request, error) {
	flags := flag.NewFlagSet("ociimage", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asked := request{spec: ociimage.Spec{Labels: map[string]string{}}}
	binary := flags.String("binary", "", "static `file` to run; copied to / under its own name")
	flags.StringVar(&asked.spec.Platform, "platform", "", "`os/architecture` of the image, like linux/amd64")
	flags.StringVar(&asked.tag, "tag", "", "`name:tag` of the image")
	flags.StringVar(&asked.output, "output", "", "`file` to write the archive for docker load to")
	flags.StringVar(&asked.bill, "bill", "", "`file` to write the bill of materials of the archive to, in CycloneDX's JSON; the binary must be a Go program")
	flags.BoolVar(&asked.push, "push", false, "push to the registry in --tag and print the digest; credentials in OCIIMAGE_USERNAME and OCIIMAGE_PASSWORD")
	flags.StringVar(&asked.spec.User, "user", "", "numeric `uid[:gid]` to run as")
	flags.StringVar(&asked.spec.WorkingDir, "workdir", "", "working `folder` of the entry point")
	flags.Func("entrypoint", "entry point, one `word` each (repeatable)", appendTo(&asked.spec.Entrypoint))
	flags.Func("cmd", "default argument, one `word` each (repeatable)", appendTo(&asked.spec.Cmd))
	flags.Func("env", "`KEY=value` (repeatable)", appendTo(&asked.spec.Env))
	flags.Func("port", "exposed `port[/protocol]` (repeatable)", appendTo(&asked.spec.Ports))
	flags.Func("label", "`key=value` (repeatable)", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return errors.New("must be key=value")
		}
		asked.spec.Labels[key] = value
		return nil
	})
	flags.Func("file", "`source:path` to copy into the image (repeatable)", func(text string) error {
		source, target, found := strings.Cut(text, ":")
		if !found || source == "" {
			return errors.New("must be source:path")
		}
		asked.spec.Files = append(asked.spec.Files, ociimage.File{Path: target, Source: source})
		return nil
	})
	flags.Func("dir", "empty `folder` to make in the image (repeatable)", func(text string) error {
		asked.spec.Files = append(asked.spec.Files, ociimage.File{Path: text, Dir: true})
		return nil
	})
	var health ociimage.Healthcheck
	flags.Func("healthcheck", "health probe command, one `word` each (repeatable)", appendTo(&health.Command))
	flags.DurationVar(&health.Interval, "healthcheck-interval", 0, "time between health probes; 0 is the engine's default")
	flags.DurationVar(&health.Timeout, "healthcheck-timeout", 0, "time one health probe may take; 0 is the engine's default")
	flags.DurationVar(&health.StartPeriod, "healthcheck-start-period", 0, "time in which failed probes do not count")
	flags.IntVar(&health.Retries, "healthcheck-retries", 0, "failed probes in a row that mean unhealthy; 0 is the engine's default")
	flags.Func("created", "`time` the image says it was made, RFC 3339 (default the Unix epoch)", func(text string) (err error) {
		asked.spec.Created, err = time.Parse(time.RFC3339, text)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return request{}, err
	}
	switch {
	case flags.NArg() > 0:
		return request{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *binary == "":
		return request{}, errors.New("--binary is missing")
	case asked.tag == "":
		return request{}, errors.New("--tag is missing")
	case asked.bill != "" && asked.output == "":
		return request{}, errors.New("--bill is of an archive: give --output as well")
	case asked.output == "" && !asked.push:
		return request{}, errors.New("nothing to do: give --output, --push or both")
	}
	asked.binary = *binary
	program := path.Join("/", filepath.Base(*binary))
	asked.spec.Files = append(asked.spec.Files, ociimage.File{Path: program, Source: *binary})
	if len(asked.spec.Entrypoint) == 0 {
		asked.spec.Entrypoint = []string{program}
	}
	if len(health.Command) > 0 {
		asked.spec.Healthcheck = &health
	}
	return asked, nil
}

func appendTo(list *[]string) func(string) error {
	return func(word string) error {
		*list = append(*list, word)
		return nil
	}
}

// writeFile writes the archive beside output and then renames it, so that
// output is never half an archive.
func writeFile(output, tag string, image v1.Image) (err error) {
	file, err := os.CreateTemp(filepath.Dir(output), filepath.Base(output)+".*")
	if err != nil {
		return fmt.Errorf("create %s: %w", output, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	if err := ociimage.WriteArchive(file, tag, image); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err := os.Rename(file.Name(), output); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return nil
}
