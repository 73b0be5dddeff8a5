package main

import (
	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// verifyFlags say what must stand for an image, and where to look.
type verifyFlags struct {
	attestors []string
	emulator  string
	remote    bool
	plainHTTP bool
	format    string
	vsa       vsaFlags
	record    recordFlags // where overrides are recorded; only where a flag says so
}

// vsaFlags say whose verification summaries count, and what they must say.
type vsaFlags struct {
	on         bool
	rule       attestor.SignedBy
	verifier   string
	policies   []string
	resource   string
	levels     []string
	maxAge     when.Duration
	repository string
}
