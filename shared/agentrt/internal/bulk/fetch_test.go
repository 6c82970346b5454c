package bulk_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/bulk"
	"fairlead.dev/shared/apperr"
)

// library serves one artifact, and breaks off where it is told to.
type library struct {
	agentv1.UnimplementedBulkServiceServer
	digest  string
	content []byte
	breaks  int // after so many bytes; 0 never
	lies    bool
	offsets []uint64
}

func (l *library) Fetch(ask *agentv1.FetchRequest, stream grpc.ServerStreamingServer[agentv1.FetchChunk]) error {
	l.offsets = append(l.offsets, ask.GetOffset())
	if ask.GetDigest() != l.digest || ask.GetOffset() > uint64(len(l.content)) {
		return status.Error(codes.NotFound, "no such artifact")
	}
	total := uint64(len(l.content))
	if l.lies {
		total /= 2
	}
	sent := 0
	for rest := l.content[ask.GetOffset():]; len(rest) > 0; {
		if l.breaks > 0 && sent >= l.breaks {
			return status.Error(codes.Unavailable, "broken")
		}
		chunk := rest[:min(len(rest), 10_000)]
		if err := stream.Send(&agentv1.FetchChunk{Data: chunk, Total: total}); err != nil {
			return err
		}
		rest, sent, total = rest[len(chunk):], sent+len(chunk), 0
	}
	return nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func newLibrary(t *testing.T) (*library, *bulk.Client, string) {
	t.Helper()
	content := make([]byte, 100_000)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	l := &library{digest: digestOf(content), content: content}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	agentv1.RegisterBulkServiceServer(server, l)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client := bulk.New(bulk.Config{
		Dial: func(*tls.Config) (*grpc.ClientConn, error) {
			return grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	client.Use(&tls.Config{MinVersion: tls.VersionTLS13})
	return l, client, filepath.Join(t.TempDir(), "artifact")
}

func (l *library) arrived(t *testing.T, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, l.content) {
		t.Errorf("%d bytes arrived of %d: %v", len(got), len(l.content), err)
	}
	if _, err := os.Stat(path + ".part"); err == nil {
		t.Error("the part is still there")
	}
}

func TestAnArtifactIsFetched(t *testing.T) {
	l, client, path := newLibrary(t)
	if err := client.Fetch(t.Context(), l.digest, path); err != nil {
		t.Fatal(err)
	}
	l.arrived(t, path)
}

func TestABrokenFetchGoesOnWhereItStopped(t *testing.T) {
	l, client, path := newLibrary(t)
	l.breaks = 40_000
	for range 2 {
		if err := client.Fetch(t.Context(), l.digest, path); !apperr.Is(err, apperr.Unavailable) {
			t.Fatalf("Fetch: %v", err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Fatal("half an artifact is passed off as one")
		}
	}
	if err := client.Fetch(t.Context(), l.digest, path); err != nil {
		t.Fatal(err)
	}
	l.arrived(t, path)
	if want := []uint64{0, 40_000, 80_000}; len(l.offsets) != 3 || l.offsets[1] != want[1] || l.offsets[2] != want[2] {
		t.Errorf("asked from %v, want %v", l.offsets, want)
	}
}

func TestWhatDoesNotHaveItsDigestIsThrownAway(t *testing.T) {
	l, client, path := newLibrary(t)
	l.content[50] ^= 1
	if err := client.Fetch(t.Context(), l.digest, path); !apperr.Is(err, apperr.Invalid) {
		t.Fatalf("Fetch: %v", err)
	}
	for _, name := range []string{path, path + ".part"} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s is there", filepath.Base(name))
		}
	}
	l.content[50] ^= 1
	if err := client.Fetch(t.Context(), l.digest, path); err != nil {
		t.Fatal(err)
	}
	l.arrived(t, path)
}

func TestAPartOfSomethingElseIsNotInTheWay(t *testing.T) {
	l, client, path := newLibrary(t)
	if err := os.WriteFile(path+".part", make([]byte, 2*len(l.content)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := client.Fetch(t.Context(), l.digest, path); err != nil {
		t.Fatal(err)
	}
	l.arrived(t, path)
}

func TestAFetchRefusesWhatMakesNoSense(t *testing.T) {
	l, client, path := newLibrary(t)
	for _, digest := range []string{"", "sha256:", "sha256:abc", l.digest[7:], "sha512:" + l.digest[7:]} {
		if err := client.Fetch(t.Context(), digest, path); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("Fetch %q: %v", digest, err)
		}
	}
	if err := client.Fetch(t.Context(), digestOf(nil), path); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Fetch of another: %v", err)
	}
	l.lies = true
	if err := client.Fetch(t.Context(), l.digest, path); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("Fetch of more than was said: %v", err)
	}
}
