package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// portTries bounds the look for a free port after one that is taken.
const portTries = 100

// portTaken explains that an address cannot be listened on: who answers there, where that can be known, and the command
// that avoids it.
func portTaken(flag, address string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %w", flag, err)
	}

	msg := flag + " " + address + " is taken" + holder(address)

	// The ports after the one that is taken are tried in turn, up to the last that exists.
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)

	// A port that another flag of this command names would be taken by the command itself.
	for free := n + 1; free <= n+portTries && free < 1<<16; free++ {
		if named(os.Args, free) {
			continue
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(free)))
		if err != nil {
			continue
		}
		_ = ln.Close() // it was free a moment ago

		return &attestor.Error{
			Kind: attestor.Invalid, Msg: msg,
			Fix: fmt.Sprintf("use another port: %s %s %s", strings.Join(without(os.Args, flag), " "), flag, ln.Addr()),
		}
	}
	return &attestor.Error{Kind: attestor.Invalid, Msg: msg, Fix: "name another port by " + flag}
}

// named reports whether an argument is an address with this port: another flag's, which is not listened on yet.
func named(args []string, port int) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, ":"+strconv.Itoa(port)) })
}

// without are the arguments but for a flag and its value.
func without(args []string, flag string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == flag:
			i++ // its value
		case !strings.HasPrefix(args[i], flag+"="):
			out = append(out, args[i])
		}
	}
	return out
}

// holder asks who listens on an address, over HTTP and for a moment.
func holder(address string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return " by another program"
	}
	defer resp.Body.Close()

	server := resp.Header.Get("Server")
	switch {
	case strings.HasPrefix(server, "AirTunes"):
		return " by AirPlay Receiver, which macOS runs there (System Settings, AirDrop & Handoff)"
	case server != "":
		return " by a server that calls itself " + plain.Clip(server, 60)
	case resp.Header.Get("X-Request-Id") != "":
		return " by a service of attestor, perhaps an earlier attestor dev"
	}
	return " by another HTTP server"
}
