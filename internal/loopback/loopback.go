// Package loopback has the one rule about which names stand for this machine.
package loopback

import (
	"net"
	"strings"
)

// Host reports whether host, without a port, is "localhost" or an address of the
// loopback interface. Other names that resolve to it do not count: what they
// resolve to can change.
func Host(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

// HostPort is [Host] for HOST:PORT; anything of another form is not loopback.
func HostPort(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	return err == nil && Host(host)
}

// Authority is [Host] for HOST or HOST:PORT, as the authority of a URL, the Host header
// of HTTP and the names of registries have it. An IPv6 address may have brackets.
func Authority(authority string) bool {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
	}
	return Host(host)
}
