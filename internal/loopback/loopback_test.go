package loopback_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/loopback"
)

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "192.0.2.1": false, "localhost.example": false, "127.0.0.1.example": false,
		"127.1": false, "2130706433": false, "127.0.0.1:80": false,
	} {
		if got := loopback.Host(host); got != want {
			t.Errorf("Host(%q) is %t, want %t", host, got, want)
		}
	}
}

func TestHostPort(t *testing.T) {
	for hostport, want := range map[string]bool{
		"localhost:1": true, "127.0.0.1:5000": true, "[::1]:5000": true,
		"127.0.0.1": false, ":5000": false, "0.0.0.0:5000": false, "registry.example:443": false, "": false,
	} {
		if got := loopback.HostPort(hostport); got != want {
			t.Errorf("HostPort(%q) is %t, want %t", hostport, got, want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for authority, want := range map[string]bool{
		"localhost": true, "Localhost:80": true, "127.0.0.1": true, "127.0.0.1:5000": true, "::1": true, "[::1]": true, "[::1]:5000": true,
		"": false, ":5000": false, "0.0.0.0:5000": false, "localhost.example:80": false, "registry.example": false,
		"127.0.0.1:80:80": false, "user@localhost": false,
	} {
		if got := loopback.Authority(authority); got != want {
			t.Errorf("Authority(%q) is %t, want %t", authority, got, want)
		}
	}
}
