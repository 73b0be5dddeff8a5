package main

import "fmt"

// Set by the linker; see Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// exit ends a command with a code; err, where there is one, is said on stderr.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }
