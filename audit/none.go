package audit

import "github.com/attestor-gate/attestor"

// unsupported is the answer of a Store that keeps nothing (store: none) to whoever
// reads the history. Writes succeed there, and nothing is kept.
func unsupported() error {
	return &attestor.Error{
		Kind: attestor.Unsupported,
		Msg:  "this gate keeps no decisions (store: none)",
		Fix:  "set an SQLite file or PostgreSQL under store in the configuration",
	}
}
