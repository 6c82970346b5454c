package filler

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	// recordETag is where a file's entity tag is in its header.
	recordETag = "FAIRLEAD.etag"
	// nameWanted is the header that says what the volume should hold; it is the
	// last, so that what was cut short on its way is never taken for all.
	nameWanted = reserved + "wanted"
	// maxIndex bounds the two lists of files, in bytes.
	maxIndex = 64 << 20
)

// receive takes files that Send sends.
func receive(c *change, uid int, in io.Reader, out io.Writer) error {
	known, intact, err := readIndex(c.root)
	if err != nil {
		return err
	}
	text, err := json.Marshal(intact)
	if err != nil {
		return err
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("say what is there: %w", err)
	}
	fresh, wanted, err := take(c, known, uid, in)
	if err != nil {
		return err
	}
	next := Index{}
	for _, name := range wanted {
		e, ok := fresh[name]
		if !ok {
			if e, ok = intact[name]; !ok {
				return fmt.Errorf("%s was neither there nor sent", name)
			}
		}
		next[name] = e
	}
	var gone []func() error
	for name := range known {
		if _, still := next[name]; !still && CheckName(name) == nil {
			gone = append(gone, func() error { return remove(c, name) })
		}
	}
	c.steps = append(gone, c.steps...) // what is gone may be where a folder is to be
	text, err = json.Marshal(next)
	if err != nil {
		return err
	}
	if _, err := c.aside(fileIndex, bytes.NewReader(text), 0o600, -1, -1, time.Time{}); err != nil {
		return err
	}
	return c.commit()
}

// take writes aside what is sent, and returns it with the names of all files
// that are wanted.
func take(c *change, known Index, uid int, in io.Reader) (fresh Index, wanted []string, err error) {
	fresh = Index{}
	archive := tar.NewReader(in)
	for {
		header, err := archive.Next()
		if err != nil {
			return nil, nil, fmt.Errorf("the files did not come whole: %w", err)
		}
		if header.Name == nameWanted {
			err := json.NewDecoder(io.LimitReader(archive, maxIndex)).Decode(&wanted)
			if err == nil {
				err = CheckNames(wanted)
			}
			if err == nil {
				_, err = io.Copy(io.Discard, in) // so that the sender is not cut off
			}
			return fresh, wanted, err
		}
		if err := CheckName(header.Name); err != nil {
			return nil, nil, err
		}
		if err := c.makeRoom(header.Name, known, uid); err != nil {
			return nil, nil, err
		}
		info, err := c.aside(header.Name, archive, 0o644, uid, -1, time.Time{})
		if err != nil {
			return nil, nil, err
		}
		fresh[header.Name] = Entry{ETag: header.PAXRecords[recordETag], Size: info.Size(), Modified: info.ModTime()}
	}
}

// makeRoom has the folders of a file made before it gets its name.
func (c *change) makeRoom(name string, known Index, uid int) error {
	if info, err := c.root.Lstat(name); err == nil && info.IsDir() && !known.below(name) {
		return fmt.Errorf("%s is a folder in the volume and a file in the storage", name)
	}
	c.steps = append(c.steps, func() error {
		return c.makeFolders(path.Dir(name), uid)
	})
	return nil
}

// below reports whether a file of the index lies in a folder.
func (i Index) below(folder string) bool {
	for name := range i {
		if strings.HasPrefix(name, folder+"/") {
			return true
		}
	}
	return false
}

func (c *change) makeFolders(folder string, uid int) error {
	if folder == "." {
		return nil
	}
	if info, err := c.root.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	if err := c.makeFolders(path.Dir(folder), uid); err != nil {
		return err
	}
	if err := c.root.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if uid >= 0 {
		return c.root.Chown(folder, uid, -1)
	}
	return nil
}

// remove removes a file that came from the storage and is there no more, and the
// folders that are empty by it.
func remove(c *change, name string) error {
	if err := c.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Until something of the application's own is in one.
	for folder := path.Dir(name); folder != "." && c.root.Remove(folder) == nil; {
		folder = path.Dir(folder)
	}
	return nil
}

// ReadIndex reads what receive says first.
func ReadIndex(r *bufio.Reader) (Index, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("ask what is in the volume: %w", err)
	}
	var index Index
	if err := json.Unmarshal(line, &index); err != nil {
		return nil, fmt.Errorf("ask what is in the volume: %w", err)
	}
	return index, nil
}

// Sender sends files to receive.
type Sender struct{ archive *tar.Writer }

// Send begins to send to w.
func Send(w io.Writer) *Sender { return &Sender{tar.NewWriter(w)} }

// File sends one file of size bytes.
func (s *Sender) File(name, etag string, size int64, content io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	header := &tar.Header{
		Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, Format: tar.FormatPAX,
		PAXRecords: map[string]string{recordETag: etag},
	}
	if err := s.archive.WriteHeader(header); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	if _, err := io.Copy(s.archive, content); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return nil
}

// End says what the volume should hold, of what was sent and what it had; other
// files that came from a storage go.
func (s *Sender) End(wanted []string) error {
	text, err := json.Marshal(wanted)
	if err != nil {
		return err
	}
	if err := s.archive.WriteHeader(&tar.Header{Name: nameWanted, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(text))}); err != nil {
		return fmt.Errorf("send what is wanted: %w", err)
	}
	if _, err := s.archive.Write(text); err != nil {
		return fmt.Errorf("send what is wanted: %w", err)
	}
	return s.archive.Close()
}
