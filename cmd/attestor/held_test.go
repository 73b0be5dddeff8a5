package main

import (
	"net"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// heldPorts are sockets on the ports of a dev that was stopped. They are bound and do not listen: connecting is refused,
// and no other process of the machine is given the port, by which it would answer in dev's place.
type heldPorts struct{ sockets []int }

// hold takes the ports at which the script knows dev. A port at which something listens is not free, and stays as it is.
func (h *heldPorts) hold(ts *testscript.TestScript) {
	for _, name := range []string{"SERVICE", "REGISTRY", "GOOGLE"} {
		address := strings.TrimPrefix(ts.Getenv(name), "http://")
		at, err := net.ResolveTCPAddr("tcp4", address)
		if address == "" || err != nil {
			continue
		}
		if socket, err := boundTo(at); err == nil {
			h.sockets = append(h.sockets, socket)
		} else {
			ts.Logf("%s is not held: %v", address, err)
		}
	}
	ts.Defer(h.release)
}

// release gives the ports back, so that dev can be started at them again.
func (h *heldPorts) release() {
	for _, socket := range h.sockets {
		_ = syscall.Close(socket)
	}
	h.sockets = nil
}

func boundTo(at *net.TCPAddr) (socket int, err error) {
	// No child process that is started meanwhile inherits it.
	syscall.ForkLock.RLock()
	socket, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(socket)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, err
	}

	// Connections of dev that have just ended do not keep the port.
	err = syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(socket, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())})
	}
	if err != nil {
		_ = syscall.Close(socket)
		return 0, err
	}
	return socket, nil
}
