package bulk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
)

const (
	// MaxArtifact is the largest artifact that is fetched, in bytes.
	MaxArtifact = 2 << 30
	suffixPart  = ".part"
)

// Fetch gets the artifact of a digest ("sha256:" and hex) and puts it at path
// once it has come whole and has the digest. What came of it when Fetch fails
// stays beside path, and the next call goes on from there. It fails with
// NotFound when the controller has no such artifact, Unavailable when the
// connection breaks, and Invalid when what came does not have the digest; it
// is thrown away then.
func (c *Client) Fetch(ctx context.Context, digest, path string) error {
	want, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(want); !ok || err != nil || len(raw) != sha256.Size {
		return apperr.New(apperr.Invalid, "fetch %q: a digest is sha256: and 64 hexadecimal digits", digest)
	}
	conn, release, err := c.wire.acquire()
	if err != nil {
		return err
	}
	defer release()
	part, err := openPart(path + suffixPart)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", digest, err)
	}
	defer func() { _ = part.file.Close() }()
	err = part.fetch(ctx, conn, digest)
	if part.size > 0 && (apperr.Is(err, apperr.NotFound) || apperr.Is(err, apperr.Invalid)) {
		if err = part.clear(); err == nil { // what is there is not of it, perhaps
			err = part.fetch(ctx, conn, digest)
		}
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(part.hash.Sum(nil)); got != want {
		return errors.Join(apperr.New(apperr.Invalid, "fetch %s: what came is sha256:%s", digest, got), os.Remove(part.file.Name()))
	}
	return part.finish(path)
}

// part is an artifact as far as it has come.
type part struct {
	file *os.File
	size uint64
	hash hash.Hash
}

func openPart(path string) (*part, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	p := &part{file: file, hash: sha256.New()}
	n, err := io.Copy(p.hash, file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p.size = uint64(n)
	return p, nil
}

// clear throws away what has come.
func (p *part) clear() error {
	p.size = 0
	p.hash.Reset()
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.file.Truncate(0)
}

// fetch gets the rest.
func (p *part) fetch(ctx context.Context, conn *grpc.ClientConn, digest string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agentv1.NewBulkServiceClient(conn).Fetch(ctx, &agentv1.FetchRequest{Digest: digest, Offset: p.size})
	if err != nil {
		return fetchError(err, digest)
	}
	var total uint64
	for first := true; ; first = false {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fetchError(err, digest)
		}
		if first {
			total = chunk.GetTotal()
		}
		size := p.size + uint64(len(chunk.GetData()))
		if size > total || total > MaxArtifact {
			return apperr.New(apperr.Invalid, "fetch %s: %d bytes came of %d", digest, size, total)
		}
		if _, err := p.file.Write(chunk.GetData()); err != nil {
			return fmt.Errorf("fetch %s: %w", digest, err)
		}
		_, _ = p.hash.Write(chunk.GetData()) // never fails
		p.size = size
	}
	if p.size < total {
		return apperr.New(apperr.Unavailable, "fetch %s: only %d of %d bytes came", digest, p.size, total)
	}
	return nil
}

// finish puts the artifact where it belongs.
func (p *part) finish(path string) error {
	err := p.file.Sync()
	if err == nil {
		err = os.Rename(p.file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("keep the artifact: %w", err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keep the artifact: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func fetchError(err error, digest string) error {
	kind := apperr.Unavailable
	switch status.Code(err) {
	case codes.NotFound:
		kind = apperr.NotFound
	case codes.OutOfRange, codes.InvalidArgument:
		kind = apperr.Invalid
	case codes.PermissionDenied:
		kind = apperr.Forbidden
	case codes.Unauthenticated:
		kind = apperr.Unauthenticated
	default:
	}
	return apperr.Wrap(kind, err, "fetch %s", digest)
}
