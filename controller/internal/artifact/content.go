package artifact

import (
	"io"
	"os"

	"fairlead.dev/shared/apperr"
)

// Content opens the archive of a digest, "sha256:" and hex, and returns its
// length in bytes; NotFound when the library has none.
func (l *Library) Content(digest string) (io.ReadSeekCloser, int64, error) {
	for _, a := range l.Artifacts {
		if digest != "sha256:"+a.SHA256 {
			continue
		}
		f, err := os.Open(l.files[a.Path])
		if err != nil {
			return nil, 0, apperr.Wrap(apperr.Unavailable, err, "the artifact cannot be read")
		}
		return f, a.Size, nil
	}
	return nil, 0, apperr.New(apperr.NotFound, "this controller has no artifact of digest %.80q", digest)
}
