package standin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Server is an [Upstream] on a port of loopback, over HTTP/1 and unencrypted
// HTTP/2, which gRPC needs. It can go down and come back on the same port.
type Server struct {
	*Upstream

	addr string
	in   atomic.Int64
	out  atomic.Int64

	mu    sync.Mutex
	srv   *http.Server // nil while down; guarded by mu, like the rest
	done  chan struct{}
	conns map[net.Conn]struct{}
}

// Listen serves next on a free port. Close must be called.
func Listen(next http.Handler) (*Server, error) {
	s := &Server{Upstream: NewUpstream(next), addr: "127.0.0.1:0"}
	if err := s.Up(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is HOST:PORT; it stays the same while the server is down.
func (s *Server) Addr() string { return s.addr }

// Wire is how many bytes were read from and written to connections, headers
// and frames and all.
func (s *Server) Wire() (in, out int64) { return s.in.Load(), s.out.Load() }

// Open is how many connections are open now.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Up listens again after [Server.Down]; it does nothing where it listens.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.srv != nil {
		return nil
	}

	// The first time any port; afterwards the one that clients know.
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	s.addr, s.conns, s.done = l.Addr().String(), map[net.Conn]struct{}{}, make(chan struct{})
	srv := &http.Server{
		// As long as an idle one: a connection that a busy client dialled in
		// reserve would be closed under the request that it is at last used for.
		Handler: s.Upstream, ReadHeaderTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		Protocols: new(http.Protocols), ConnState: s.follow,
	}

	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000}
	s.srv = srv
	go func(done chan struct{}) {
		defer close(done)
		if err := srv.Serve(counted{l, s}); !errors.Is(err, http.ErrServerClosed) {
			panic("standin: serving: " + err.Error()) // a listener of ours that nobody else closes
		}
	}(s.done)
	return nil
}

// Down closes the listener and every connection: whoever calls is refused.
func (s *Server) Down() {
	s.mu.Lock()
	srv, done := s.srv, s.done
	s.srv = nil
	s.mu.Unlock()
	if srv == nil {
		return
	}

	// Outside of the lock: connections that close report it to follow.
	_ = srv.Close() // only a listener that is closed already fails to
	<-done
}

// Close is Down, for good.
func (s *Server) Close() { s.Down() }

func (s *Server) follow(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()

	switch state {
	case http.StateNew:
		s.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, c)
	}
}

// counted counts the bytes of connections.
type counted struct {
	net.Listener
	s *Server
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c.(*net.TCPConn), s: l.s}, nil //nolint:forcetypeassert // a TCP listener's
}

type conn struct {
	*net.TCPConn
	s *Server
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.s.in.Add(int64(n))
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.s.out.Add(int64(n))
	return n, err
}
