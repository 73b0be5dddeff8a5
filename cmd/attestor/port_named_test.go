package main

import "testing"

// A port that another flag names is not proposed, though nobody listens on it yet.
func TestPortsOfOtherFlags(t *testing.T) {
	args := []string{"attestor", "dev", "--listen", "127.0.0.1:8080", "--registry-listen", "127.0.0.1:8081", "--google-listen=127.0.0.1:8082"}
	for port, want := range map[int]bool{8080: true, 8081: true, 8082: true, 8083: false, 80: false, 81: false} {
		if got := named(args, port); got != want {
			t.Errorf("port %d: named %t, want %t", port, got, want)
		}
	}
}
