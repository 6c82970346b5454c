package agentrpc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/specpb"
)

// raw connects as a program does that speaks TLS and nothing else for certain.
func (s site) raw(t *testing.T, own ...tls.Certificate) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.AgentAddr, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: own, MinVersion: tls.VersionTLS13,
	})
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
				conn := s.raw(t, c.own...)
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
	go func() {
		_ = tls.Client(pipe, &tls.Config{InsecureSkipVerify: true}).Handshake()
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
	conn := s.raw(t)
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
	case <-time.After(20 * time.Second):
		t.Error("it may stay for ever")
	}
}

// oddRequest makes a certificate request; change makes it odd.
func oddRequest(t *testing.T, key any, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	change(template)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// greedy are requests that ask for more than an identity.
func greedy(victimID string) map[string]func(*x509.CertificateRequest) {
	uri, _ := url.Parse("fairlead://agent/" + victimID)
	basic, _ := asn1.Marshal(struct {
		IsCA bool
		Path int
	}{true, 5})
	usage, _ := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}, {2, 5, 29, 37, 0}})
	extension := func(id asn1.ObjectIdentifier, value []byte) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
		}
	}
	return map[string]func(*x509.CertificateRequest){
		"a name": func(r *x509.CertificateRequest) {
			r.Subject = pkix.Name{CommonName: victimID, Organization: []string{"system:masters"}}
		},
		"host names":         func(r *x509.CertificateRequest) { r.DNSNames = []string{"controller.fairlead.internal", "localhost"} },
		"addresses":          func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
		"another's URI":      func(r *x509.CertificateRequest) { r.URIs = []*url.URL{uri, pki.AgentURI(victimID)} },
		"mail":               func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"root@example.com"} },
		"to be an authority": extension(asn1.ObjectIdentifier{2, 5, 29, 19}, basic),
		"to be a server":     extension(asn1.ObjectIdentifier{2, 5, 29, 37}, usage),
		"to sign":            extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{3, 2, 1, 6}),
		"something unknown":  extension(asn1.ObjectIdentifier{1, 2, 3, 4}, []byte("x")),
	}
}

// bare fails the test unless a certificate says who the agent is and no more.
func bare(t *testing.T, der []byte, agentID string, key *ecdsa.PrivateKey) {
	t.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case leaf.IsCA, leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		t.Error("it may sign certificates")
	case len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0:
		t.Errorf("it has the names %v %v %v", leaf.DNSNames, leaf.IPAddresses, leaf.EmailAddresses)
	case len(leaf.URIs) != 1 || leaf.URIs[0].String() != pki.AgentURI(agentID).String():
		t.Errorf("it has the URIs %v, want that of %s", leaf.URIs, agentID)
	case len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(leaf.UnknownExtKeyUsage) > 0:
		t.Errorf("its usages are %v %v", leaf.ExtKeyUsage, leaf.UnknownExtKeyUsage)
	case len(leaf.Subject.Organization) > 0:
		t.Errorf("its subject is %v", leaf.Subject)
	case !key.PublicKey.Equal(leaf.PublicKey):
		t.Error("it is for another key")
	}
	for _, x := range leaf.Extensions {
		if x.Id.Equal(asn1.ObjectIdentifier{1, 2, 3, 4}) {
			t.Error("it has an extension of the request")
		}
	}
}

func TestHostileRequestsGiveNothingButTheirKey(t *testing.T) {
	s := newSite(t)
	first := s.admin.Install(t, "acme", s.node)
	stranger, _, err := enrol(t, s.connect(t, first), first.Token)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range greedy(stranger.GetAgentId()) {
		t.Run(what, func(t *testing.T) {
			node := s.admin.Post("/api/acme/nodes", map[string]any{"name": strings.NewReplacer(" ", "-", "'", "").Replace(what)}).Expect(t, 201).String(t, "id")
			e := s.admin.Install(t, "acme", node)
			key, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := agentv1.NewEnrolmentServiceClient(s.connect(t, e)).Enrol(t.Context(), &agentv1.EnrolRequest{
				Token: e.Token, CertificateRequest: oddRequest(t, key, change), Agent: &agentv1.AgentInfo{NodeType: "docker"},
			})
			if err != nil {
				t.Fatal(err)
			}
			bare(t, answer.GetCertificateChain()[0], answer.GetAgentId(), key)
			if answer.GetAgentId() == stranger.GetAgentId() {
				t.Error("it became somebody else")
			}
			// Renewed it is the same agent still, whatever it asks for.
			own := tls.Certificate{Certificate: answer.GetCertificateChain(), PrivateKey: key}
			next, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			renewed, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).RenewCertificate(t.Context(),
				&agentv1.RenewCertificateRequest{CertificateRequest: oddRequest(t, next, change)})
			if err != nil {
				t.Fatal(err)
			}
			bare(t, renewed.GetCertificateChain()[0], answer.GetAgentId(), next)
		})
	}
}

func TestHostileKeysAreRefused(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	good, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(*x509.CertificateRequest) {}
	whole := oddRequest(t, good, plain)
	foreign := bytes.Clone(whole) // signed by nobody who has the key
	foreign[len(foreign)-1] ^= 1
	swapped := bytes.Replace(whole, elliptic.Marshal(elliptic.P256(), good.X, good.Y), elliptic.Marshal(elliptic.P256(), elliptic.P256().Params().Gx, elliptic.P256().Params().Gy), 1) //nolint:staticcheck // bytes, not mathematics
	offCurve := bytes.Replace(whole, elliptic.Marshal(elliptic.P256(), good.X, good.Y), append([]byte{4}, make([]byte, 64)...), 1)                                                     //nolint:staticcheck // bytes, not mathematics
	for name, der := range map[string][]byte{
		"nothing":               nil,
		"a short RSA key":       oddRequest(t, weak, plain),
		"an RSA key":            oddRequest(t, strong, plain),
		"another curve":         oddRequest(t, other, plain),
		"an Edwards key":        oddRequest(t, edwards, plain),
		"a broken signature":    foreign,
		"somebody else's key":   swapped,
		"a point off the curve": offCurve,
		"half a request":        whole[:len(whole)/2],
		"more than a request":   append(bytes.Clone(whole), whole...),
		"a certificate":         []byte(strings.Repeat("\x30\x82\xff\xff", 1000)),
		"deep nesting":          bytes.Repeat([]byte{0x30, 0x80}, 2000),
		"too much":              make([]byte, 100<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := agentv1.NewEnrolmentServiceClient(s.connect(t, e)).Enrol(t.Context(), &agentv1.EnrolRequest{Token: e.Token, CertificateRequest: der})
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want an invalid argument", err)
			}
		})
	}
	if _, _, err := enrol(t, s.connect(t, e), e.Token); err != nil {
		t.Errorf("after the refusals the token does not work: %v", err)
	}
}
