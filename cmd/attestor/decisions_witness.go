package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/translog"
)

// witnessFlag names the witnesses that must have cosigned.
func (f *verifyLogFlags) witnessFlag(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.witnesses, "witness", nil,
		"the public `KEY` of a witness that must have cosigned a checkpoint, or @FILE; repeatable; by default the "+
			"configuration's "+
			"witnesses are reported and not required")
}

// readWitnesses reads the keys of --witness. They are verified beside the log's own key, and never instead of it.
func (f *verifyLogFlags) readWitnesses() ([]translog.WitnessKey, error) {
	var out []translog.WitnessKey
	for _, text := range f.witnesses {
		if path, ok := strings.CutPrefix(text, "@"); ok {
			b, err := readEvidence(path)
			if err != nil {
				return nil, fmt.Errorf("--witness: %w", err)
			}
			text = strings.TrimSpace(string(b))
		}
		key, err := translog.ParseWitnessKey(text)
		if err != nil {
			return nil, fmt.Errorf("--witness: %w", err)
		}
		out = append(out, key)
	}

	return out, nil
}

// findWitnesses takes the witnesses from the configuration, unless some were named.
func (f *verifyLogFlags) findWitnesses(r *audit.VerifyRequest) error {
	if r.Required && r.Key == "" {
		return &exit{3, fmt.Errorf("--witness: the log's public key is not known: name it with --key")}
	}

	// Named witnesses replace the configuration's. Without the log's key no cosignature can be verified.
	if r.Required || r.Key == "" {
		return nil
	}

	conf, err := configured(f.config)
	if err != nil {
		return err
	}
	if conf.Log == nil {
		return nil
	}

	for _, w := range conf.Log.Witnesses {
		key, err := translog.ParseWitnessKey(w.Key)
		if err != nil {
			return err
		}
		r.Witnesses = append(r.Witnesses, key)
	}

	return nil
}

// cosigned says who cosigned the checkpoint of a proof.
func cosigned(all []translog.Cosignature) string {
	var out strings.Builder
	for _, c := range all {
		fmt.Fprintf(&out, "The witness %s cosigned this checkpoint on %s.\n", plain.Text(c.Witness),
			c.Time.Format("2006-01-02T15:04:05Z07:00"))
	}
	return out.String()
}

// witnessed says what each witness cosigned of the log.
func witnessed(v audit.Verification, witnesses []translog.WitnessKey) string {
	var out strings.Builder
	for _, w := range witnesses {
		i := slices.IndexFunc(v.Cosigned, func(c translog.Cosignature) bool { return c.Witness == w.Name() })
		if i < 0 {
			fmt.Fprintf(&out, "The witness %s has cosigned no checkpoint of this log that is known here.\n",
				plain.Text(w.Name()))
			continue
		}
		c := v.Cosigned[i]
		fmt.Fprintf(&out, "The witness %s cosigned the first %s on %s.\n",
			plain.Text(w.Name()), describe.Plural(int(c.Entries), "entry"), c.Time.Format("2006-01-02T15:04:05Z07:00"))
	}

	return out.String()
}
