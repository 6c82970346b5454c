// Package reach is the way from an agent to its controller, and what can be
// wrong with it. Every failure becomes a Problem, which names the hop that is
// at fault and what to do about it: the running agent logs it, and the doctor
// prints it.
//
// The controller proves itself by a private root, so that whatever terminates
// TLS in between is told apart from it before anything is sent.
package reach

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind tells problems apart.
type Kind string

// Kinds of problems, in the order of the way.
const (
	// Name: the controller's name cannot be resolved.
	Name Kind = "name"
	// Proxy: the proxy that the environment names does not let us through.
	Proxy Kind = "proxy"
	// Refused: nobody listens there.
	Refused Kind = "refused"
	// Unreachable: no packet comes back.
	Unreachable Kind = "unreachable"
	// Silent: a connection comes about and nothing is ever said on it.
	Silent Kind = "silent"
	// Cut: the connection is closed before it proves anything.
	Cut Kind = "cut"
	// PlainHTTP: a web server without TLS answers.
	PlainHTTP Kind = "plain-http"
	// NotTLS: what answers speaks another protocol.
	NotTLS Kind = "not-tls"
	// Foreign: the certificate shown is not the controller's, so something on
	// the way, or another server, terminates TLS.
	Foreign Kind = "foreign"
	// HTTP1: what answers cannot speak HTTP/2.
	HTTP1 Kind = "http1"
	// OldTLS: what answers cannot speak TLS 1.3.
	OldTLS Kind = "old-tls"
	// ServerName: what answers chooses by server name and does not know ours.
	ServerName Kind = "server-name"
	// OtherRoot: a Fairlead controller answers, with a root not trusted here.
	OtherRoot Kind = "other-root"
	// Clock: the controller's certificate is not valid by this machine's
	// clock.
	Clock Kind = "clock"
	// Rejected: the controller does not take the agent's certificate.
	Rejected Kind = "rejected"
	// Unknown: anything else.
	Unknown Kind = "unknown"
)

// Problem is why the controller cannot be reached.
type Problem struct {
	Kind Kind
	// What is wrong and where, and what to do about it; each a sentence or
	// two for the person at the node.
	What string
	Fix  string
	// Err is what was found, and Call what a call failed with because of it;
	// either may be nil.
	Err  error
	Call error
}

// Error returns both texts.
func (p *Problem) Error() string { return p.What + ". " + p.Fix }

// Unwrap returns the causes.
func (p *Problem) Unwrap() []error {
	var list []error
	for _, err := range []error{p.Err, p.Call} {
		if err != nil {
			list = append(list, err)
		}
	}
	return list
}

// GRPCStatus lets a problem stand for the error of a call.
func (p *Problem) GRPCStatus() *status.Status {
	if p.Call != nil {
		return status.Convert(p.Call)
	}
	return status.New(codes.Unavailable, p.Error())
}

// Of returns the problem in an error's chain.
func Of(err error) (*Problem, bool) {
	var p *Problem
	ok := errors.As(err, &p)
	return p, ok
}
