package reach

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// connect asks a proxy for a tunnel.
func connect(ctx context.Context, proxy *url.URL, address string) (conn net.Conn, err error) {
	port := proxy.Port()
	switch {
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fmt.Errorf("a proxy of kind %q is not supported", proxy.Scheme)
	case port == "" && proxy.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	at := net.JoinHostPort(proxy.Hostname(), port)
	if conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at); err != nil {
		return nil, err
	}
	// The end of ctx ends whatever is under way.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = conn.Close()
			conn = nil
		}
	}()
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := ask.Write(conn); err != nil {
		return conn, err
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, ask)
	if err != nil {
		return conn, fmt.Errorf("it does not answer like a proxy: %w", err)
	}
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode != http.StatusOK:
		return conn, fmt.Errorf("it answers %s", statusOf(answer.StatusCode))
	case reader.Buffered() > 0:
		return conn, errors.New("it speaks before it is spoken to")
	}
	return conn, nil
}
