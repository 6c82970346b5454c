package agentrpc_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

// raw connects as a program does that speaks TLS and nothing else for certain.
func (s site) raw(t *testing.T, e controllertest.Enrolment, own ...tls.Certificate) *tls.Conn {
	t.Helper()
	pin, err := pki.ParsePin(e.RootSHA256)
	if err != nil {
		t.Fatal(err)
	}
	config := pki.Introduce(pin, time.Now).TLSConfig()
	config.NextProtos, config.Certificates = []string{"h2"}, own
	conn, err := tls.Dial("tcp", s.AgentAddr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// frames begins HTTP/2 on a connection. What the server says is read and
// dropped; gone is closed when it has hung up.
func frames(t *testing.T, conn net.Conn) (f *http2.Framer, gone <-chan struct{}) {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f = http2.NewFramer(conn, bytes.NewReader(nil))
	f.AllowIllegalWrites = true
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	return f, ended
}

// headers are those of a call, and whatever else.
func headers(method string, more ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: method}, {Name: ":authority", Value: "x"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, more...) {
		_ = e.WriteField(h)
	}
	return b.Bytes()
}

// victim is an agent that is connected and goes on being served: each of its
// heartbeats comes back.
type victim struct {
	*oldAgent
}

func (s site) victim(t *testing.T) victim {
	t.Helper()
	p := oldProtocols(t)[0]
	e := s.admin.Install(t, "acme", s.node)
	return victim{s.openOld(t, p, e, s.enrolOld(t, p, e))}
}

// attack is something a hostile program does on a connection. It ends early
// when it is hung up on.
type attack struct {
	name string
	do   func(t *testing.T, f *http2.Framer, conn net.Conn)
}

const floods = 20_000

func attacks() []attack {
	call := "/fairlead.agent.v1.EnrolmentService/Enrol"
	return []attack{
		{"streams opened and reset at once", func(_ *testing.T, f *http2.Framer, _ net.Conn) { // CVE-2023-44487
			block := headers(call)
			for i := range uint32(floods) {
				id := 2*i + 1
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil ||
					f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}},
		{"headers that never end", func(_ *testing.T, f *http2.Framer, _ net.Conn) { // CVE-2024-27316, CVE-2023-45288
			if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(call)}) != nil {
				return
			}
			for range floods {
				if f.WriteContinuation(1, false, headers(call, hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1000)})) != nil {
					return
				}
			}
		}},
		{"a header repeated by its index", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			var b bytes.Buffer
			e := hpack.NewEncoder(&b)
			for range 4000 { // a byte each after the first
				_ = e.WriteField(hpack.HeaderField{Name: "bomb", Value: strings.Repeat("b", 4000)})
			}
			for i := range uint32(200) {
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: append(headers(call), b.Bytes()...), EndHeaders: true}) != nil {
					return
				}
			}
		}},
		{"settings", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			for range floods {
				if f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}) != nil {
					return
				}
			}
		}},
		{"pings", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			for range floods {
				if f.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		}},
		{"empty frames of data", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(call), EndHeaders: true})
			for range floods {
				if f.WriteData(1, false, nil) != nil {
					return
				}
			}
		}},
		{"a message that claims four gigabytes", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(call), EndHeaders: true})
			_ = f.WriteData(1, false, append([]byte{0}, binary.BigEndian.AppendUint32(nil, 1<<32-1)...))
		}},
		{"messages on many streams that are never ended", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			for i := range uint32(60) {
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: headers(call), EndHeaders: true}) != nil ||
					f.WriteData(2*i+1, false, append([]byte{0}, binary.BigEndian.AppendUint32(nil, 15<<20)...)) != nil {
					return
				}
			}
			for range 1000 {
				for i := range uint32(60) {
					if f.WriteData(2*i+1, false, make([]byte, 16<<10)) != nil {
						return
					}
				}
			}
		}},
		{"windows out of range", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			for range 1000 {
				if f.WriteWindowUpdate(0, 1<<31-1) != nil {
					return
				}
			}
		}},
		{"frames of unknown kinds, and on streams that are not there", func(_ *testing.T, f *http2.Framer, _ net.Conn) {
			for i := range 2000 {
				if f.WriteRawFrame(http2.FrameType(i), http2.Flags(i), uint32(i), make([]byte, i%100)) != nil {
					return
				}
			}
		}},
		{"paths that name no method", func(_ *testing.T, f *http2.Framer, _ net.Conn) { // CVE-2026-33186
			for i, path := range []string{
				"fairlead.agent.v1.SessionService/Session", "//fairlead.agent.v1.SessionService/Session", "", "/", "*", "/a/b/c", "/\x00", strings.Repeat("/a", 4000),
			} {
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: headers(path), EndHeaders: true, EndStream: true}) != nil {
					return
				}
			}
		}},
		{"no HTTP/2 at all", func(_ *testing.T, _ *http2.Framer, conn net.Conn) {
			noise := make([]byte, 1<<20)
			_, _ = rand.Read(noise)
			_, _ = conn.Write(noise)
		}},
	}
}

// TestHostileFramesHarmNobody: whatever comes from whoever, with or without a
// certificate, nothing panics, memory stays where it was, and another agent's
// heartbeats come back all the while.
func TestHostileFramesHarmNobody(t *testing.T) {
	s := newSite(t)
	v := s.victim(t)
	other := s.admin.Post("/api/acme/nodes", map[string]any{"name": "hostile"}).Expect(t, 201).String(t, "id")
	hostile := s.admin.Install(t, "acme", other)
	_, own, err := enrol(t, s.connect(t, hostile), hostile.Token)
	if err != nil {
		t.Fatal(err)
	}
	before := memory()
	for _, a := range attacks() {
		for who, c := range map[string]struct {
			own   []tls.Certificate
			bound int64
		}{
			"a stranger": {nil, 32 << 20},
			// An agent may have messages of the greatest size under way on as
			// many streams as it may have. Who it is is known.
			"an agent": {[]tls.Certificate{own}, 64 * specpb.MaxMessageBytes},
		} {
			t.Run(a.name+" from "+who, func(t *testing.T) {
				conn := s.raw(t, hostile, c.own...)
				f, _ := frames(t, conn)
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second)) // who is not read from has been contained
					a.do(t, f, conn)
				}()
				v.echo()
				<-done
				v.echo()
				// While it is still open: what it holds is what counts.
				controllertest.Await(t, "the heap is as small as before", func() (bool, string) {
					grown := memory() - before
					return grown < c.bound, fmt.Sprintf("it has grown by %d MiB", grown>>20)
				})
			})
		}
	}
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestHostileHandshakesHarmNobody(t *testing.T) {
	s := newSite(t)
	v := s.victim(t)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", s.AgentAddr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	noise := make([]byte, 1<<16)
	_, _ = rand.Read(noise)
	var hello bytes.Buffer
	pipe, other := net.Pipe()
	go func() { // only its first bytes are wanted
		_ = tls.Client(pipe, &tls.Config{ServerName: "controller.example", MinVersion: tls.VersionTLS13}).Handshake()
	}()
	first := make([]byte, 4096)
	n, err := other.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	hello.Write(first[:n])

	_, _ = dial().Write(noise)
	_, _ = dial().Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	_, _ = dial().Write([]byte(http2.ClientPreface))
	for cut := range hello.Len() {
		if cut%7 == 0 {
			_, _ = dial().Write(hello.Bytes()[:cut]) // and no more
		}
	}
	for i := range hello.Len() { // each byte another
		if i%7 == 0 {
			bad := bytes.Clone(hello.Bytes())
			bad[i] ^= 0xff
			_, _ = dial().Write(bad)
		}
	}
	huge := append([]byte{22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff}, noise...)
	_, _ = dial().Write(huge)
	for range 200 { // and many who say nothing, or next to it
		_, _ = dial().Write([]byte{22})
	}
	v.echo()
	// There is room for who comes next.
	node := s.admin.Post("/api/acme/nodes", map[string]any{"name": "next"}).Expect(t, 201).String(t, "id")
	e := s.admin.Install(t, "acme", node)
	controllertest.Await(t, "somebody who behaves enrols from the same address", func() (bool, string) {
		_, _, err := enrol(t, s.connect(t, e), e.Token)
		return err == nil, fmt.Sprint(err)
	})
	v.echo()
}

// TestStrangerIsHungUpOn: a connection without a certificate may say so much
// and no more.
func TestStrangerIsHungUpOn(t *testing.T) {
	s := newSite(t)
	conn := s.raw(t, s.admin.Install(t, "acme", s.node))
	f, gone := frames(t, conn)
	_ = conn.SetWriteDeadline(time.Now().Add(8 * time.Second))
	// Frames of an unknown kind are to be ignored.
	const most = 16 << 20 // what the two kernels hold is a part of it
	sent, filler := 0, make([]byte, 16<<10)
	for sent < 2*most && f.WriteRawFrame(200, 0, 0, filler) == nil {
		sent += len(filler)
	}
	if sent > most {
		t.Errorf("it could say %d MiB", sent>>20)
	}
	select {
	case <-gone:
	case <-time.After(controllertest.Patience):
		t.Error("it may stay for ever")
	}
}
