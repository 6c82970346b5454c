package hostupdate

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"fairlead.dev/shared/apperr"
)

// maxProgram bounds the program in an archive, in bytes, maxDescription what
// describes the image.
const (
	maxProgram     = 1 << 30
	maxDescription = 1 << 20
)

// extract writes the program of an agent's image archive to a file that only its
// owner may change. Invalid when the archive is not one of an agent.
func extract(archive, file string) (err error) {
	source, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // only read from
	program, layer, err := programIn(source)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
	}
	content, err := entry(source, layer)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
	}
	plain, err := gzip.NewReader(content)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
	}
	files := tar.NewReader(plain)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return apperr.New(apperr.Invalid, "the new agent's archive does not hold its program %s", program)
		}
		if err != nil {
			return apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
		}
		if header.Typeflag == tar.TypeReg && path.Clean("/"+header.Name) == program {
			return writeProgram(file, files)
		}
	}
}

// programIn reads what an archive says of its image: the path of the program, and
// the name of the layer that it is in. Agents have one of each.
func programIn(source io.ReadSeeker) (program, layer string, err error) {
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := decode(source, "manifest.json", &manifest); err != nil {
		return "", "", err
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		return "", "", errors.New("it is not one image of one layer")
	}
	var image struct {
		Config struct{ Entrypoint []string } `json:"config"`
	}
	if err := decode(source, manifest[0].Config, &image); err != nil {
		return "", "", err
	}
	if len(image.Config.Entrypoint) != 1 {
		return "", "", errors.New("its image does not name one program")
	}
	return path.Clean("/" + image.Config.Entrypoint[0]), manifest[0].Layers[0], nil
}

func decode(source io.ReadSeeker, name string, into any) error {
	content, err := entry(source, name)
	if err != nil {
		return err
	}
	return json.NewDecoder(io.LimitReader(content, maxDescription)).Decode(into)
}

// entry returns the content of a file in an archive.
func entry(source io.ReadSeeker, name string) (io.Reader, error) {
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	files := tar.NewReader(source)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it lacks " + strings.ToValidUTF8(name, "?"))
		}
		if err != nil {
			return nil, err
		}
		if header.Name == name {
			return files, nil
		}
	}
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
