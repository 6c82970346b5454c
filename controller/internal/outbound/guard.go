package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// forbidden are the ranges, beside those net/netip knows, in which no public
// server is: shared address space, protocol assignments, benchmarks,
// reserved, and the IPv6 ranges that lead to an IPv4 address inside them.
//
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
func forbidden() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/23"),
		netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"),
	}
}

// public reports whether an address is one of the internet's.
func public(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if !address.IsGlobalUnicast() || address.IsPrivate() {
		return false
	}
	for _, prefix := range forbidden() {
		if prefix.Contains(address) {
			return false
		}
	}
	return true
}

// PrivateError says why a server is not called.
type PrivateError struct{ address netip.Addr }

// Error names the address and the setting that would allow it.
func (e PrivateError) Error() string {
	return fmt.Sprintf("the address %s is not a public one; the installation's setting FAIRLEAD_WEBHOOK_ALLOW_PRIVATE would allow it", e.address)
}

// guard refuses a connection to an address that is not public. It is called
// with the address that is about to be connected to, after any name was looked
// up: so no name can lead elsewhere between a check and the call.
func guard(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	if !public(ip) {
		return PrivateError{ip}
	}
	return nil
}
