package doctor

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/reach"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
)

// clockTolerance is how far clocks may be apart without a word: far less than
// what does harm.
const clockTolerance = 5 * time.Minute

// way goes to the controller, hop by hop, as far as it gets.
func (e *examination) way(ctx context.Context) {
	path := reach.To(e.controller, e.Now)
	host, _, err := net.SplitHostPort(e.controller)
	if err != nil {
		e.fail("address", e.Again, "the controller's address %q is not host:port", e.controller)
		return
	}
	proxied := e.proxy(path)
	if !proxied && net.ParseIP(host) == nil && !e.name(ctx, host) {
		return
	}
	if !e.connect(ctx, path) || !e.handshake(ctx, path) {
		return
	}
	e.session(ctx)
}

// proxy says whether the way goes through a proxy.
func (e *examination) proxy(path *reach.Path) bool {
	proxy, err := path.Proxy()
	switch {
	case err != nil:
		e.fail("proxy", "Correct or remove it", "%v", err)
	case proxy != nil:
		e.ok("proxy", "HTTPS_PROXY is set here: the way goes through %s by CONNECT. The agent does the same only if it is set in its own environment", proxy.Host)
	}
	return proxy != nil
}

func (e *examination) name(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		e.problem("name", reach.Unresolved(err, e.controller))
		return false
	}
	e.ok("name", "%s is %s", host, strings.Join(addresses, ", "))
	return true
}

func (e *examination) connect(ctx context.Context, path *reach.Path) bool {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	conn, err := path.Dial(ctx)
	if err != nil {
		e.problem("tcp", err)
		return false
	}
	e.ok("tcp", "%s takes connections", conn.RemoteAddr())
	_ = conn.Close()
	return true
}

// handshake looks at who answers, without showing who asks.
func (e *examination) handshake(ctx context.Context, path *reach.Path) bool {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	met, err := path.Check(ctx, e.config(tls.Certificate{}))
	if err != nil {
		e.problem("tls", err)
		return false
	}
	chain := met.PeerCertificates
	e.ok("tls", "the controller answers (%s, %s), proven by root %.16s", tls.VersionName(met.Version), met.NegotiatedProtocol,
		pki.PinOf(chain[len(chain)-1]).String())
	return true
}

// session asks the controller what it thinks of the agent.
func (e *examination) session(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	answer, err := e.ask(ctx, e.own)
	if problem, ok := reach.Of(err); ok && problem.Kind == reach.Rejected {
		// The agent gets itself another certificate; what it would then hear
		// can't be told without doing the same.
		e.ok("grpc", "the controller answers, and wants another certificate than the one here: the agent asks for it when it connects")
		return
	}
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		e.ok("grpc", "the controller answers; it is older than this doctor and can't say what it thinks of the agent")
		return
	case codes.Unauthenticated:
		if e.introduction != nil {
			e.ok("grpc", "the controller answers, and waits for the enrolment")
			return
		}
		e.fail("session", e.Again, "the controller refuses this agent: %s", status.Convert(err).Message())
		return
	case codes.PermissionDenied:
		e.fail("session", "If that was not meant: "+e.Again, "the controller refuses this agent: %s", status.Convert(err).Message())
		return
	default:
		e.problem("grpc", err)
		return
	}
	e.ok("grpc", "the controller answers, version %s", answer.GetVersion())
	e.clock(answer.GetTime().AsTime())
	if answer.GetProtocolMin() > protocol.VersionMax || answer.GetProtocolMax() < protocol.VersionMin {
		e.fail("session", "Update the older of the two", "the controller speaks protocol %d to %d, this agent %d to %d",
			answer.GetProtocolMin(), answer.GetProtocolMax(), protocol.VersionMin, protocol.VersionMax)
		return
	}
	e.ok("session", "the controller knows this agent as that of node %s", answer.GetNodeId())
	e.roots(answer.GetRoots())
}

func (e *examination) ask(ctx context.Context, own tls.Certificate) (*agentv1.DiagnoseResponse, error) {
	conn, err := e.dial(own)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return agentv1.NewSessionServiceClient(conn).Diagnose(ctx, &agentv1.DiagnoseRequest{})
}

func (e *examination) clock(theirs time.Time) {
	apart := e.Now().Sub(theirs).Round(time.Second)
	if apart.Abs() > clockTolerance {
		e.fail("clock", "Set the clock that is wrong (timedatectl, chrony, ntpd); past two days apart, agents can't connect",
			"this machine's clock and the controller's are %s apart (%s here, %s there)", apart.Abs(),
			e.Now().UTC().Format(time.RFC3339), theirs.UTC().Format(time.RFC3339))
		return
	}
	e.ok("clock", "%s apart from the controller's", apart.Abs())
}

// roots says when the agent trusts another set of roots than it should; a
// running agent is told within seconds.
func (e *examination) roots(wanted []string) {
	if e.trust == nil {
		return
	}
	trusted := map[string]bool{}
	for _, pin := range e.trust.Pins() {
		trusted[pin.String()] = true
	}
	for _, hash := range wanted {
		if !trusted[hash] {
			e.fail("roots", "Let the agent run and connect: it is told then",
				"the controller's roots are being replaced, and this agent does not trust %.16s yet", hash)
			return
		}
	}
}
