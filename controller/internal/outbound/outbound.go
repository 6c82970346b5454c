// Package outbound is how the controller calls servers that its users name: a
// chat's webhook, an identity provider. It calls nobody inside the network it
// runs in unless the installation allows that. It is an edge of the controller,
// beneath those that call for the domain.
package outbound

import (
	"net"
	"net/http"
	"time"
)

const (
	maxIdlePerHost  = 2
	idleConnTimeout = time.Minute
	maxHeaderBytes  = 64 << 10
)

// Client returns an HTTP client whose requests end after the timeout. It
// follows no redirect: one could lead elsewhere. Only with allowPrivate does it
// call loopback, private and other addresses that are not public; otherwise its
// errors wrap a PrivateError.
func Client(timeout time.Duration, allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	if !allowPrivate {
		dialer.Control = guard
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy: it would look names up itself
			DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: maxIdlePerHost, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
		},
	}
}
