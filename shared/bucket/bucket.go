// Package bucket reads what a bucket of an S3-compatible storage holds.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Limits of what one volume is filled with.
const (
	MaxObjects = 100_000
	MaxBytes   = 50 << 30
)

// Object is a file in a bucket.
type Object struct {
	// Name is the path below the folder that counts.
	Name string
	ETag string
	Size int64
	key  string
}

// Bucket is a bucket, or a folder in it.
type Bucket struct {
	client *minio.Client
	name   string
	folder string
}

// Open returns the bucket that a storage names. Nobody is asked yet. Addresses of
// this host, and those of its link, are called only if local is true: they are
// closed to containers, and must not be open through the agent. Errors: Invalid.
func Open(s spec.Storage, local bool) (*Bucket, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, apperr.New(apperr.Invalid, "storage: %q is not the address of a storage", s.URL)
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, apperr.New(apperr.Invalid, "storage: the address %s must have no path", s.URL)
	}
	name, folder, _ := strings.Cut(strings.Trim(s.Bucket, "/"), "/")
	if folder != "" {
		folder += "/"
	}
	login := credentials.NewStaticV4("", "", "") // a public bucket
	if s.Keys != nil {
		login = credentials.NewStaticV4(s.Keys.Access, s.Keys.Secret, "")
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: login, Secure: u.Scheme == "https", Transport: transport(local), MaxRetries: 3,
	})
	if err != nil {
		return nil, apperr.Wrap(apperr.Invalid, err, "storage: configure the client of %s", s.URL)
	}
	return &Bucket{client, name, folder}, nil
}

// transport is that of the standard library with bounds, and without the host's
// own addresses unless they are allowed.
func transport(local bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	if !local {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return refuseLocal(address) }
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: 30 * time.Second,
		ResponseHeaderTimeout: time.Minute, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
	}
}

func refuseLocal(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return apperr.New(apperr.Unsupported,
			"this node fills no volumes from %s, which is an address of its own; its administrator can allow it with the agent's allow-local-storage setting", ip)
	}
	return nil
}

// List returns every file. Markers of folders are none. Errors: Invalid when
// there is too much; Forbidden, NotFound and Unavailable as the storage says.
func (b *Bucket) List(ctx context.Context) ([]Object, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing when it is not read to its end
	var list []Object
	var total int64
	for found := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.folder, Recursive: true}) {
		if found.Err != nil {
			return nil, storageError(found.Err, "list bucket %s", b.name)
		}
		if strings.HasSuffix(found.Key, "/") {
			continue
		}
		total += found.Size
		if len(list) == MaxObjects || total > MaxBytes {
			return nil, apperr.New(apperr.Invalid, "storage: bucket %s holds more than %d files or %d GiB", b.name, MaxObjects, MaxBytes>>30)
		}
		list = append(list, Object{strings.TrimPrefix(found.Key, b.folder), found.ETag, found.Size, found.Key})
	}
	return list, nil
}

// Fetch reads a file as it was listed; it fails when the file has changed since.
func (b *Bucket) Fetch(ctx context.Context, o Object) (io.ReadCloser, error) {
	options := minio.GetObjectOptions{}
	if o.ETag != "" {
		if err := options.SetMatchETag(o.ETag); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", o.Name, err)
		}
	}
	core := minio.Core{Client: b.client}
	content, about, _, err := core.GetObject(ctx, b.name, o.key, options)
	if err != nil {
		return nil, storageError(err, "fetch %s of bucket %s", o.Name, b.name)
	}
	if about.Size != o.Size {
		return nil, errors.Join(content.Close(),
			apperr.New(apperr.Unavailable, "fetch %s of bucket %s: it has %d bytes and not %d", o.Name, b.name, about.Size, o.Size))
	}
	return content, nil
}

// storageError gives an error of a storage its kind.
func storageError(err error, format string, args ...any) error {
	var known *apperr.Error
	kind := apperr.Unavailable
	switch code := minio.ToErrorResponse(err).Code; {
	case errors.As(err, &known):
		kind = known.Kind
	case code == "NoSuchBucket", code == "NoSuchKey":
		kind = apperr.NotFound
	case code == "AccessDenied", code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch":
		kind = apperr.Forbidden
	case code == "InvalidBucketName", strings.HasPrefix(code, "Invalid"):
		kind = apperr.Invalid
	}
	return apperr.Wrap(kind, err, "storage: "+format, args...)
}
