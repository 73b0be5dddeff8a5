package config

import (
	"fmt"

	"github.com/attestor-gate/attestor/internal/translog"
	"github.com/attestor-gate/attestor/internal/witness"
)

// maxWitnesses bounds the witnesses: each is asked every few seconds, and adds a line to each cosigned checkpoint.
const maxWitnesses = 16

func witnessProblems(l Log) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	if len(l.Witnesses) > maxWitnesses {
		bad("log.witnesses: there are %d; at most %d are allowed", len(l.Witnesses), maxWitnesses)
	}
	seen := map[string]bool{}
	for i, w := range l.Witnesses {
		if err := witness.CheckURL(w.URL); err != nil {
			bad("log.witnesses[%d].url: %w", i, err)
		}
		key, err := translog.ParseWitnessKey(w.Key)
		if err != nil {
			bad("log.witnesses[%d].key: %w", i, err)
			continue
		}

		// Metrics and messages tell witnesses by their names. One of the log's own name would be taken for the log.
		switch {
		case seen[key.Name()]:
			bad("log.witnesses[%d].key: duplicate witness %q", i, key.Name())
		case key.Name() == l.Origin:
			bad("log.witnesses[%d].key: the witness has the log's own name %q: a log cannot be its own witness", i,
				key.Name())
		}
		seen[key.Name()] = true
	}
	return out
}

// KeptNowhere reports whether the log is signed and no checkpoint of it is kept outside of its database: a database that
// was put back would be signed on, and nothing would show the second history.
func (l *Log) KeptNowhere() bool { return l != nil && l.Bucket == "" && len(l.Witnesses) == 0 }
