package docker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// ask makes one probe over the network and reports whether it succeeded. What
// was answered is in p.said.
//
// The agent stands on the host's network, from where it reaches containers by
// their addresses, whether their ports are published or not.
func (p *probing) ask(ctx context.Context, n networkProbe) bool {
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	said, ok := n.ask(ctx, p.address)
	p.said = fmt.Sprintf("%s: %s", n, said)
	return ok
}

func (n networkProbe) ask(ctx context.Context, address string) (said string, ok bool) {
	if address == "" {
		return "the container has no address", false
	}
	at := net.JoinHostPort(address, strconv.Itoa(int(n.port)))
	if n.path == "" {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			return err.Error(), false
		}
		_ = connection.Close()
		return "connected", true
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/"+strings.TrimPrefix(n.path, "/"), nil)
	if err != nil {
		return err.Error(), false
	}
	request.Header.Set("User-Agent", "fairlead-probe")
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error(), false
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxProbeOutput)) // what was read is told
	said = strings.TrimSpace(answer.Status + " " + strings.ToValidUTF8(string(body), "\uFFFD"))
	return said, answer.StatusCode >= 200 && answer.StatusCode < 400
}

// addressOf is where a container can be reached from the host; empty when
// nowhere.
func addressOf(seen container.InspectResponse) string {
	if seen.HostConfig != nil && seen.HostConfig.NetworkMode.IsHost() {
		return "127.0.0.1"
	}
	if seen.NetworkSettings == nil {
		return ""
	}
	if seen.HostConfig != nil {
		if e := seen.NetworkSettings.Networks[string(seen.HostConfig.NetworkMode)]; e != nil && e.IPAddress != "" {
			return e.IPAddress
		}
	}
	for _, e := range seen.NetworkSettings.Networks {
		if e != nil && e.IPAddress != "" {
			return e.IPAddress
		}
	}
	return ""
}
