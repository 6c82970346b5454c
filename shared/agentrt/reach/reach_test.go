package reach_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/reach"
	"fairlead.dev/shared/pki"
)

// world is a controller's agent listener, and an agent's view of it.
type world struct {
	t         *testing.T
	authority *pki.Authority
	address   string
	trust     *pki.Trust
	own       tls.Certificate
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, authority: newAuthority(t)}
	w.trust = pki.NewTrust(w.authority.Root)
	w.own = w.agent(time.Now().Add(time.Hour))
	w.address = w.serve(w.certificate(-time.Hour, time.Hour))
	return w
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) certificate(from, to time.Duration) *tls.Certificate {
	w.t.Helper()
	cert, err := w.authority.Server(time.Now().Add(from), time.Now().Add(to))
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

func (w *world) agent(notAfter time.Time) tls.Certificate {
	w.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	chain, err := w.authority.Agent("a1", &key.PublicKey, time.Now().Add(-48*time.Hour), notAfter)
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// serve runs a gRPC server that knows no method, with a certificate.
func (w *world) serve(cert *tls.Certificate) string {
	w.t.Helper()
	config := pki.ServerTLS([]*x509.Certificate{w.authority.Root}, func([]string) (*tls.Certificate, error) { return cert, nil }, time.Now)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	l := listen(w.t)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	w.t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return l.Addr().String()
}

// call makes a call as an agent does.
func (w *world) call(address string) error {
	w.t.Helper()
	path := reach.To(address, time.Now)
	conn, err := grpc.NewClient(path.Target(), path.Options(pki.AgentTLS(w.trust, w.own, time.Now))...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = agentv1.NewSessionServiceClient(conn).Diagnose(w.t.Context(), &agentv1.DiagnoseRequest{})
	stream, streamErr := agentv1.NewSessionServiceClient(conn).Session(w.t.Context())
	if streamErr == nil {
		_, streamErr = stream.Recv()
	}
	if status.Code(err) != status.Code(streamErr) {
		w.t.Errorf("a call ends with %v, a stream with %v", err, streamErr)
	}
	return err
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// answer runs a server that does this with every connection.
func answer(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go do(conn)
		}
	}()
	return l.Addr().String()
}

// forward passes bytes on, as a proxy in TCP mode does.
func forward(conn net.Conn, to string) {
	defer func() { _ = conn.Close() }()
	other, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = other.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(other, conn)
		_ = other.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, other)
	_ = conn.Close()
	<-done
}

// web is a web server with a certificate of its own, as a proxy that
// terminates TLS.
func web(t *testing.T, change func(*tls.Config), http2 bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.EnableHTTP2 = http2
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if change != nil {
		change(s.TLS)
	}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestEveryHopIsNamed(t *testing.T) {
	w := newWorld(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	other := newWorld(t)
	say := func(text string) string {
		return answer(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		})
	}
	free := listen(t)
	nobody := free.Addr().String()
	_ = free.Close()

	for name, c := range map[string]struct {
		address string
		kind    reach.Kind // empty where the controller is reached
		says    string
	}{
		"the controller":                       {w.address, "", ""},
		"a proxy that passes TCP":              {answer(t, func(conn net.Conn) { forward(conn, w.address) }), "", ""},
		"a proxy that terminates TLS":          {web(t, nil, true), reach.Foreign, `a certificate for "example.com" issued by "O=Acme Co"`},
		"a proxy without HTTP/2":               {web(t, nil, false), reach.HTTP1, `its certificate is for "example.com", issued by "O=Acme Co"`},
		"a proxy without TLS 1.3":              {web(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true), reach.OldTLS, "O=Acme Co"},
		"a proxy that knows other names":       {web(t, func(c *tls.Config) { c.GetConfigForClient = knowsNobody }, true), reach.ServerName, pki.HintSuffix},
		"the port of the API":                  {plain.Listener.Addr().String(), reach.PlainHTTP, "FAIRLEAD_AGENT_PUBLIC_ADDR"},
		"a captive portal":                     {say("HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/?x\r\n\r\n"), reach.PlainHTTP, "a page of login.hotel.example"},
		"a gateway":                            {say("HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22\r\n\r\n"), reach.PlainHTTP, "server nginx/1.22"},
		"another service":                      {say("SSH-2.0-OpenSSH_9.2\r\n"), reach.NotTLS, "SSH-2.0-Op"},
		"somebody who hangs up":                {answer(t, func(conn net.Conn) { _ = conn.Close() }), reach.Cut, "closes it"},
		"somebody who resets":                  {answer(t, reset), reach.Cut, "closes it"},
		"nobody":                               {nobody, reach.Refused, "nothing listens at " + nobody},
		"no name":                              {"controller.invalid:8443", reach.Name, `"controller.invalid"`},
		"another controller":                   {other.address, reach.OtherRoot, "whose root this agent does not trust"},
		"a controller of yesterday":            {w.serve(w.certificate(-48*time.Hour, -24*time.Hour)), reach.Clock, "this machine's clock says"},
		"a controller of tomorrow":             {w.serve(w.certificate(24*time.Hour, 48*time.Hour)), reach.Clock, "this machine's clock says"},
		"a proxy that cuts after a few bytes":  {answer(t, func(conn net.Conn) { forward(&short{Conn: conn, left: 300}, w.address) }), reach.Cut, "closes it"},
		"a proxy with nobody behind":           {answer(t, func(conn net.Conn) { forward(conn, nobody) }), reach.Cut, "is it running?"},
		"a port that is another one's greeter": {say("220 mail.example ESMTP\r\n"), reach.NotTLS, "220 mail.exa"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.call(c.address)
			problem, found := reach.Of(err)
			if c.kind == "" {
				if found || status.Code(err) != codes.Unimplemented {
					t.Fatalf("got %v", err)
				}
				return
			}
			if !found || problem.Kind != c.kind || !strings.Contains(err.Error(), c.says) || problem.Fix == "" {
				t.Fatalf("got %v\nwant %s that says %q", err, c.kind, c.says)
			}
			if host, _, _ := net.SplitHostPort(c.address); !strings.Contains(problem.What, host) {
				t.Errorf("the hop is not named: %s", problem.What)
			}
			if status.Code(err) != codes.Unavailable {
				t.Errorf("code %v: it is not seen as something to try again", status.Code(err))
			}
		})
	}
}

// reset closes a connection as a firewall does.
func reset(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 16))
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

func knowsNobody(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("unknown name") }

// short is a connection that ends after some bytes were written to it.
type short struct {
	net.Conn
	left int
}

func (s *short) Write(b []byte) (int, error) {
	if len(b) > s.left {
		n, _ := s.Conn.Write(b[:s.left])
		_ = s.Close()
		return n, io.ErrClosedPipe
	}
	s.left -= len(b)
	return s.Conn.Write(b)
}

// TestWhoSaysNothingIsNamed has a deadline of its own, so that the test does
// not wait for the library's; a connection comes about before it, also on a busy
// machine.
func TestWhoSaysNothingIsNamed(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	address := answer(t, func(conn net.Conn) {
		<-release
		_ = conn.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := reach.To(address, time.Now).Check(ctx, pki.AgentTLS(w.trust, w.own, time.Now))
	if problem, ok := reach.Of(err); !ok || problem.Kind != reach.Silent || !strings.Contains(problem.What, address) {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheControllerRejectsIsUnderstood(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	for name, c := range map[string]struct {
		own  tls.Certificate
		says string
	}{
		"expired":         {w.agent(time.Now().Add(-time.Hour)), "has expired"},
		"of another root": {other.own, "signed by a root that is retired"},
	} {
		t.Run(name, func(t *testing.T) {
			w.own = c.own
			err := w.call(w.address)
			if problem, ok := reach.Of(err); !ok || problem.Kind != reach.Rejected || !strings.Contains(problem.What, c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTheServerNameSaysWhichRootsAreTrusted: proxies choose by it where they
// pass it on, and controllers with several roots do.
func TestTheServerNameSaysWhichRootsAreTrusted(t *testing.T) {
	w := newWorld(t)
	want := pki.HintName(w.trust.Pins()...)
	names := make(chan string, 8)
	address := web(t, func(c *tls.Config) {
		c.MaxVersion = tls.VersionTLS12 // so that the way is looked at once more
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			names <- hello.ServerName
			return nil, nil
		}
	}, true)
	if _, err := reach.To(address, time.Now).Check(t.Context(), pki.AgentTLS(w.trust, w.own, time.Now)); err == nil {
		t.Fatal("a web server passed for the controller")
	}
	_ = w.call(address)
	close(names)
	seen := 0
	for name := range names {
		if seen++; name != want {
			t.Errorf("the server name is %q, want %q", name, want)
		}
	}
	if seen < 4 {
		t.Errorf("%d connections, want two for the check and two for a call", seen)
	}
}

// TestProxyOfTheEnvironment has a proxy that resolves a name only it knows.
func TestProxyOfTheEnvironment(t *testing.T) {
	w := newWorld(t)
	tunnel := func(refuse int) string {
		return answer(t, func(conn net.Conn) {
			head := make([]byte, 0, 1024)
			for !strings.HasSuffix(string(head), "\r\n\r\n") {
				b := make([]byte, 1)
				if _, err := conn.Read(b); err != nil {
					return
				}
				head = append(head, b...)
			}
			if refuse != 0 || !strings.HasPrefix(string(head), "CONNECT controller.test:8443 HTTP/1.1\r\n") ||
				!strings.Contains(string(head), "Proxy-Authorization: Basic dTpw") {
				_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
				_ = conn.Close()
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			forward(conn, w.address)
		})
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("HTTPS_PROXY", "http://u:p@"+tunnel(0))
	if err := w.call("controller.test:8443"); status.Code(err) != codes.Unimplemented {
		t.Errorf("through the proxy: %v", err)
	}
	if err := w.call(w.address); status.Code(err) != codes.Unimplemented {
		t.Errorf("to this machine, past the proxy: %v", err)
	}
	for name, proxy := range map[string]string{
		"it refuses":     "http://u:p@" + tunnel(403),
		"it is not one":  "http://" + w.address,
		"it is not up":   "http://127.0.0.1:1",
		"it is no proxy": "socks4://127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", proxy)
			err := w.call("controller.test:8443")
			problem, ok := reach.Of(err)
			if !ok || problem.Kind != reach.Proxy || !strings.Contains(problem.What, "HTTPS_PROXY") {
				t.Errorf("got %v", err)
			}
			if strings.Contains(problem.Error(), "u:p") {
				t.Error("the proxy's password is told")
			}
		})
	}
}
