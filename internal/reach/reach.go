// Package reach has the rules about the addresses that the gate connects to. They
// hold for every host that somebody else can choose or move: registries, what they
// redirect to, and receivers of events.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/loopback"
)

// ErrRefused is the error of a connection that the rules do not allow.
var ErrRefused = errors.New("not one that the gate may contact")

// May reports whether a connection to host, HOST or HOST:PORT, which resolved to addr,
// is allowed. named says that the configuration vouches for where this very host is.
func May(host string, addr netip.Addr, named bool) bool {
	addr = addr.Unmap()
	switch {
	// Metadata servers are link-local. Only an address that is configured as such counts.
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), !addr.IsValid():
		return named && literal(host) == addr && addr.IsValid()
	case addr.IsLoopback():
		// A public name that resolves to this machine is an attack, or as bad as one. A
		// configuration that means this machine names it.
		return named && loopback.Authority(host)
	case isPrivate(addr):
		return named
	}
	return true
}

// literal is the address that host is written as, if it is one.
func literal(host string) netip.Addr {
	if a, err := netip.ParseAddr(hostname(host)); err == nil {
		return a.Unmap()
	}
	return netip.Addr{}
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// isPrivate covers what is not reachable from the Internet, beyond what
// [netip.Addr] calls private: shared address space (RFC 6598), benchmarking,
// this network, reserved, NAT64 and 6to4, which embed any IPv4 address.
func isPrivate(a netip.Addr) bool {
	if a.IsPrivate() || a.IsInterfaceLocalMulticast() {
		return true
	}
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

// A Dialer connects only to addresses that May allows, and to the very address that
// was checked.
type Dialer struct {
	// Lookup turns a host name into addresses; nil: the system's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// May is asked about each address of HOST:PORT. Required.
	May func(hostport string, addr netip.Addr) bool
}

const (
	dialTimeout = 5 * time.Second
	keepAlive   = 30 * time.Second
)

// DialContext connects to HOST:PORT, for [net/http.Transport].
func (d Dialer) DialContext(ctx context.Context, network, hostport string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", hostport, err)
	}
	lookup := d.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	addrs, err := lookup(ctx, "ip", name)
	if err != nil {
		return nil, err
	}

	// Each address is checked and then dialled as an address, never by name: a name
	// that resolves to another one a moment later (DNS rebinding) gains nothing.
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	err = fmt.Errorf("%w: %s resolves to no address", ErrRefused, name)
	for _, a := range addrs {
		if !d.May(hostport, a) {
			err = fmt.Errorf("%w: %s is at %s, which is not public", ErrRefused, name, a.Unmap())
			continue
		}
		conn, dialErr := dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if dialErr == nil {
			return conn, nil
		}
		err = dialErr
	}
	return nil, err
}
