package hostupdate

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/shared/apperr"
)

// maxProgram bounds the program in an archive, in bytes.
const maxProgram = 1 << 30

// extract writes the program of an agent's image archive to a file that only its
// owner may change. Invalid when the archive is not one of an agent.
func extract(archive, file string) error {
	program, files, err := open(archive)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
	}
	defer func() { _ = files.Close() }() // only read from
	content := tar.NewReader(files)
	for {
		header, err := content.Next()
		if errors.Is(err, io.EOF) {
			return apperr.New(apperr.Invalid, "the new agent's archive does not hold its program %s", program)
		}
		if err != nil {
			return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
		}
		if header.Typeflag == tar.TypeReg && path.Clean("/"+header.Name) == program {
			return writeProgram(file, content)
		}
	}
}

// open returns the path of the program in an archive's image, and the files of
// the layer that it is in, as an archive. Agents have one of each.
func open(archive string) (program string, files io.ReadCloser, err error) {
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return "", nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return "", nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", nil, err
	}
	if entry := config.Config.Entrypoint; len(layers) != 1 || len(entry) != 1 {
		return "", nil, fmt.Errorf("its image is not one program in one layer but %q in %d", entry, len(layers))
	}
	files, err = layers[0].Uncompressed()
	return path.Clean("/" + config.Config.Entrypoint[0]), files, err
}

// writeProgram makes a program that is whole, or none.
func writeProgram(file string, content io.Reader) (err error) {
	const executable = 0o700
	out, err := os.OpenFile(file+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, executable)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(content, maxProgram+1))
	if err == nil && n > maxProgram {
		err = apperr.New(apperr.Invalid, "the new agent's program has more than %d bytes", maxProgram)
	}
	err = errors.Join(err, out.Chmod(executable), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(file+".part", file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file+".part"))
	}
	return nil
}
