package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/shared/pki"
)

const (
	passThrough = "Agents need TCP passthrough to the controller's agent port: nginx stream, HAProxy mode tcp, " +
		"Traefik TCP router with passthrough, a load balancer in TCP mode; see docs/operating.md, Reverse proxies"
	rightPort = "check that the controller's FAIRLEAD_AGENT_PUBLIC_ADDR names the agent port (8443 unless set), not the one of the API"
)

// explainDial says why no connection came about.
func explainDial(err error, address string) *Problem {
	var already *Problem
	var name *net.DNSError
	switch {
	case errors.As(err, &already):
		return already
	case errors.As(err, &name):
		return &Problem{Kind: Name, Err: err,
			What: fmt.Sprintf("the name %q of the controller cannot be resolved (%s)", name.Name, dnsReason(name)),
			Fix:  "Check this machine's DNS, and that the controller's FAIRLEAD_AGENT_PUBLIC_ADDR is a name that nodes know"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Problem{Kind: Refused, Err: err,
			What: fmt.Sprintf("nothing listens at %s", refusedAt(err, address)),
			Fix:  "Check that the controller runs and that this port leads to it; " + rightPort}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return &Problem{Kind: Unreachable, Err: err,
			What: fmt.Sprintf("nothing answers at %s", address),
			Fix:  "A firewall between this machine and the controller most likely drops the packets: let TCP to this address and port out, and in over there"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return &Problem{Kind: Unreachable, Err: err,
			What: fmt.Sprintf("there is no way from this machine to %s (%s)", address, lastOf(err)),
			Fix:  "Check this machine's network, its routes and its firewall"}
	default:
		return &Problem{Kind: Unknown, Err: err, What: fmt.Sprintf("no connection to %s comes about: %v", address, err),
			Fix: "Check the network between this machine and the controller"}
	}
}

// Unresolved explains why the name in an address could not be resolved.
func Unresolved(err error, address string) *Problem { return explainDial(err, address) }

func dnsReason(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "no such name"
	case err.IsTimeout:
		return "the DNS server " + err.Server + " does not answer"
	default:
		return err.Err
	}
}

func refusedAt(err error, address string) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil && op.Addr.String() != address {
		return fmt.Sprintf("%s (%s)", address, op.Addr)
	}
	return address
}

// lastOf is the innermost error: of a system call, the bare reason.
func lastOf(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// explainHandshake says why a connection did not prove to lead to the
// controller. Hop is where the connection leads, heard how the other side
// began.
func explainHandshake(err error, hop string, heard []byte, now time.Time) *Problem {
	var stranger *pki.StrangerError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &stranger) && len(stranger.Presented) > 0:
		return explainStranger(stranger, hop, now)
	case looksLikeHTTP(heard):
		return explainHTTP(err, hop, heard)
	case errors.As(err, &header):
		return &Problem{Kind: NotTLS, Err: err,
			What: fmt.Sprintf("what answers at %s does not speak TLS (it begins with %q)", hop, beginning(heard)),
			Fix:  "Another service has this port: " + rightPort}
	case alert(err, "no application protocol"), strings.Contains(err.Error(), "missing selected ALPN property"):
		return &Problem{Kind: HTTP1, Err: err,
			What: fmt.Sprintf("what answers at %s terminates TLS and speaks no HTTP/2, so it is not the controller's agent port but a proxy or a web server", hop),
			Fix:  passThrough}
	case alert(err, "protocol version not supported"):
		return &Problem{Kind: OldTLS, Err: err,
			What: fmt.Sprintf("what answers at %s terminates TLS and speaks no TLS 1.3, so it is not the controller", hop),
			Fix:  passThrough}
	case alert(err, "unrecognized name"), alert(err, "handshake failure"), alert(err, "access denied"), alert(err, "internal error"):
		return &Problem{Kind: ServerName, Err: err,
			What: fmt.Sprintf("what answers at %s refuses the TLS handshake (%s): a proxy that chooses by server name and does not know the one agents send", hop, alertText(err)),
			Fix: fmt.Sprintf("Agents send the server name %q, or one that ends in %q: let the proxy pass both on to the agent port, untouched. %s",
				pki.ServerName, pki.HintSuffix, passThrough)}
	case alertText(err) != "":
		return explainRejected(err, hop)
	case timedOut(err):
		return &Problem{Kind: Silent, Err: err,
			What: fmt.Sprintf("%s takes the connection and then says nothing", hop),
			Fix:  "Either what listens there is no TLS server (" + rightPort + "), or a proxy there does not reach the controller, or a firewall drops packets of established connections"}
	case hungUp(err):
		return &Problem{Kind: Cut, Err: err,
			What: fmt.Sprintf("%s takes the connection and closes it at the TLS handshake (%v)", hop, lastOf(err)),
			Fix:  "A proxy there has no controller behind it (is it running?) or does not know the server name; or a firewall inspects TLS; or the proxy and the controller disagree on the PROXY protocol, which the controller does not speak"}
	default:
		return &Problem{Kind: Unknown, Err: err, What: fmt.Sprintf("the TLS handshake with %s failed: %v", hop, err), Fix: passThrough}
	}
}

// explainStranger says whose certificate it is that is not the controller's.
func explainStranger(err *pki.StrangerError, hop string, now time.Time) *Problem {
	leaf := err.Presented[0]
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return &Problem{Kind: Clock, Err: err,
			What: fmt.Sprintf("the certificate of the controller at %s is good from %s to %s, and this machine's clock says %s",
				hop, utc(leaf.NotBefore), utc(leaf.NotAfter), utc(now)),
			Fix: "Set this machine's clock (timedatectl, chrony, ntpd)"}
	}
	if pki.OfFairlead(leaf) {
		return &Problem{Kind: OtherRoot, Err: err,
			What: fmt.Sprintf("a Fairlead controller answers at %s whose root this agent does not trust", hop),
			Fix: "If it is the right controller, its root was replaced while this agent was away, or its keys folder was lost: " +
				"make a new install script for the node and run it here. If not, the address leads to another controller"}
	}
	return &Problem{Kind: Foreign, Err: err,
		What: fmt.Sprintf("something at %s terminates TLS: it shows a certificate for %q issued by %q, which is not the controller's",
			hop, pki.NameOf(leaf), leaf.Issuer),
		Fix: passThrough}
}

// explainRejected says why the controller does not take the agent's own
// certificate, as far as it said so.
func explainRejected(err error, hop string) *Problem {
	p := &Problem{Kind: Rejected, Err: err}
	switch {
	case alert(err, "expired certificate"):
		p.What = fmt.Sprintf("the controller at %s says that this agent's certificate has expired", hop)
		p.Fix = "The agent asks for another by itself; if this stays, its clock or the controller's is wrong"
	case alert(err, "unknown certificate authority"), alert(err, "bad certificate"):
		p.What = fmt.Sprintf("the controller at %s does not take this agent's certificate: it was signed by a root that is retired, or by another controller", hop)
		p.Fix = "The agent asks for another by itself; if this stays, make a new install script for the node and run it here"
	default:
		p.What = fmt.Sprintf("what answers at %s refuses the connection: %s", hop, alertText(err))
		p.Fix = "The controller's log says more; if nothing is there, something else answers. " + passThrough
	}
	return p
}

// explainLeft says that the controller proved itself and then said nothing.
func explainLeft(err error, hop string) *Problem {
	return &Problem{Kind: Cut, Err: err,
		What: fmt.Sprintf("the controller at %s closed the connection before it said anything (%v)", hop, lastOf(err)),
		Fix:  "It may be stopping or starting, or a proxy cuts connections; the agent tries again by itself"}
}

// alertText returns what the other side said was wrong; empty when it said
// nothing.
func alertText(err error) string {
	_, text, found := strings.Cut(err.Error(), "remote error: tls: ")
	if !found {
		return ""
	}
	return text
}

func alert(err error, text string) bool { return strings.Contains(alertText(err), text) }

func timedOut(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func beginning(heard []byte) string { return string(heard[:min(len(heard), 24)]) }
