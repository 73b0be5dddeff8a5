package main

import (
	"fmt"
	"runtime/debug"
)

// Set by the linker; see Makefile. A binary of `go install` has them from its module: see built.
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

// built is the version and commit of this program: those of the linker, else those that Go recorded, of the module's
// version or of the working tree.
func built(info *debug.BuildInfo, known bool) (v, c string) {
	v, c = version, commit
	if version != "dev" || !known {
		return v, c
	}

	if m := info.Main.Version; m != "" && m != "(devel)" {
		v = m
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			c = s.Value[:min(len(s.Value), 12)]
		}
	}
	return v, c
}
