package artifact

import (
	"io"
	"os"

	"fairlead.dev/shared/apperr"
)

// Content opens the archive of a digest, "sha256:" and hex, and returns its
// length in bytes; NotFound when the library has none.
func (l *Library) Content(digest string) (io.ReadSeekCloser, int64, error) {
	found, ok := l.contents[digest]
	if !ok {
		return nil, 0, apperr.New(apperr.NotFound, "this controller has no artifact of digest %.80q", digest)
	}
	f, err := os.Open(found.file)
	if err != nil {
		return nil, 0, apperr.Wrap(apperr.Unavailable, err, "the artifact cannot be read")
	}
	return f, found.size, nil
}
