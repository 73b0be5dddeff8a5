package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

const (
	// maxMessage bounds a request, and leaves room for a full batch.
	maxMessage = 64 << 20
	// defaultMaxOccurrences bounds what the emulator keeps.
	defaultMaxOccurrences = 2_000_000
	// maxObjects bounds notes, keys and attestors, each.
	maxObjects = 1_000_000
)

// Options configure an emulator. The zero value works: everything in memory,
// the wall clock, the strictest behaviour.
type Options struct {
	// Now is the clock of server-set times and of list lag; nil is time.Now.
	Now func() time.Time
	// StateDir keeps everything in this directory, across crashes; "" is memory.
	StateDir string
	// Reset empties the state directory's content first.
	Reset bool
	// Behaviour is where the live services are undocumented, or how they fail.
	Behaviour Behaviour
	// MaxOccurrences bounds memory; beyond it creation is RESOURCE_EXHAUSTED.
	// 0 is two million.
	MaxOccurrences int
	// Registry, if set, is a registry by the distribution specification whose content Artifact Registry describes:
	// PROJECT/REPOSITORY/IMAGE in it is IMAGE of a repository of that project, in every location. Without one, there
	// are the images that occurrences are about.
	Registry http.Handler
}

// Emulator is a running emulator. All of its methods may be called
// concurrently.
type Emulator struct {
	now       func() time.Time
	store     *store
	faults    *faults
	usage     *usage
	keys      *keyCache
	names     resourceNames
	artifacts artifactNames
	registry  http.Handler // nil: there is none
	grpc      *grpc.Server
	lis       *bufconn.Listener
	rest      http.Handler
	done      chan struct{}

	behaviourMu sync.RWMutex
	behaviour   Behaviour

	pages pageCounter

	connMu sync.Mutex
	conns  []*grpc.ClientConn // handed out by Conn, closed by Close
}

// New starts an emulator. It listens on no port: see [Emulator.Conn] and
// [Emulator.Handler].
func New(o Options) (*Emulator, error) {
	if err := o.Behaviour.validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}

	if o.MaxOccurrences <= 0 {
		o.MaxOccurrences = defaultMaxOccurrences
	}

	// The state is opened last of what can fail cheaply: it takes a lock on the
	// directory.
	st, err := openStore(o.StateDir, o.Reset, o.MaxOccurrences)
	if err != nil {
		return nil, fmt.Errorf("opening emulator state: %w", err)
	}

	// The in-memory listener serves both surfaces: REST requests become gRPC calls, so
	// that each rule exists once.
	e := &Emulator{
		now:       o.Now,
		store:     st,
		faults:    newFaults(),
		usage:     newUsage(),
		keys:      newKeyCache(),
		names:     newResourceNames(),
		artifacts: newArtifactNames(),
		registry:  o.Registry,
		behaviour: o.Behaviour,
		lis:       bufconn.Listen(1 << 20),
		done:      make(chan struct{}),
	}

	e.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(e.intercept),
	)

	e.register(e.grpc)
	if e.rest, err = e.newREST(); err != nil {
		return nil, errors.Join(fmt.Errorf("building the REST surface: %w", err), st.close())
	}

	// Serve runs until Close; done is closed when it has ended, for Close.
	go func() {
		defer close(e.done)
		// Serve ends when Close stops the server; bufconn has no other failure.
		_ = e.grpc.Serve(e.lis)
	}()
	return e, nil
}

// Conn is a new in-memory connection, for option.WithGRPCConn. Each call makes
// one of its own, since the official clients close the connection they were
// given; Close closes whatever is left. After Close its calls fail.
func (e *Emulator) Conn() *grpc.ClientConn {
	c, err := grpc.NewClient("passthrough:///emulator",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return e.lis.DialContext(ctx)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		// The target and the options are constants: only a programmer can break them.
		panic(fmt.Sprintf("emulator: making the in-memory connection: %v", err))
	}

	e.connMu.Lock()
	defer e.connMu.Unlock()
	e.conns = append(e.conns, c)
	return c
}

// Close ends all calls and connections and closes the state.
func (e *Emulator) Close() error {
	e.connMu.Lock()
	for _, c := range e.conns {
		// A client that was closed has closed its connection already.
		_ = c.Close()
	}

	e.conns = nil
	e.connMu.Unlock()

	// Calls end before the state is closed, so that none writes to a closed journal.
	e.grpc.Stop()
	<-e.done
	return e.store.close()
}
