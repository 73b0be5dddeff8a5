// Package waiting writes for whoever reads a build's log what a program waits for: at once, and then once a minute.
package waiting

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

const (
	// soon is how long an answer may take before anything is said: most need no waiting.
	soon = time.Second
	// again is how often it is said that the program still waits. CI systems end builds that are silent for ten
	// minutes.
	again = time.Minute
)

// A Notice says what is waited for, a line each time, on a terminal and in a pipe alike.
type Notice struct {
	w     io.Writer
	most  time.Duration
	begun time.Time
	end   chan struct{}
	ended chan struct{}

	mu   sync.Mutex
	what string
	said bool
	last time.Time // when something was said
}

// Start begins to wait for what, for at most a time. Stop must be called.
func Start(w io.Writer, what string, most time.Duration) *Notice {
	n := &Notice{w: w, most: most, begun: time.Now(), what: what, end: make(chan struct{}), ended: make(chan struct{})}
	go n.run()
	return n
}

func (n *Notice) run() {
	defer close(n.ended)
	timer := time.NewTimer(soon)
	defer timer.Stop()

	for {
		select {
		case <-n.end:
			return
		case <-timer.C:
			n.mu.Lock()
			next := again - time.Since(n.last)
			if !n.said || next <= 0 {
				n.say()
				next = again
			}
			n.mu.Unlock()
			timer.Reset(next)
		}
	}
}

// For changes what is waited for. The first time it is said at once, and later where it is something else.
func (n *Notice) For(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if changed := what != n.what; changed || !n.said {
		n.what = what
		n.said = n.said && !changed
		n.say()
	}
}

// say writes one line. The lock is held.
func (n *Notice) say() {
	n.last = time.Now()
	if !n.said {
		fmt.Fprintf(n.w, "waiting for %s, at most %s\n", n.what, when.FormatDuration(n.most))
		n.said = true
		return
	}
	waited := time.Since(n.begun).Round(time.Second)
	fmt.Fprintf(n.w, "still waiting for %s: %s of at most %s\n", n.what, when.FormatDuration(waited),
		when.FormatDuration(n.most))
}

// Stop ends the notice; nothing is said after it.
func (n *Notice) Stop() {
	close(n.end)
	<-n.ended
}
