package config

import (
	"os"

	"github.com/attestor-gate/attestor"
)

// FilesMissing lists the files that the configuration names and that cannot be opened, each with its key. What the gate
// makes by itself, such as an SQLite file, is not among them.
func (c Config) FilesMissing() []error {
	named := []struct{ key, path string }{
		{"trustedRoot", c.TrustedRoot}, {"store.postgres", c.Store.Postgres}, {"store.replica", c.Store.Replica},
		{"telemetry.hashKey", c.Telemetry.HashKey}, {"endOfLife.table", c.EndOfLife.Table},
	}
	add := func(key, path string) { named = append(named, struct{ key, path string }{key, path}) }
	for _, p := range c.Policies {
		add("policies", p)
	}
	for _, a := range c.Attestors {
		add("attestors["+a.Name+"].keyFile", a.KeyFile)
	}
	if a := c.Admission; a != nil {
		add("admission.cert", a.Cert)
		add("admission.key", a.Key)
		add("admission.clientCA", a.ClientCA)
	}

	var out []error
	for _, n := range named {
		if n.path == "" {
			continue
		}
		f, err := os.Open(n.path)
		if err != nil {
			out = append(out, &attestor.Error{
				Kind: attestor.Invalid, Msg: n.key + ": " + err.Error(),
				Fix: "correct the path, or mount the file, readable by whoever runs this",
			})
			continue
		}
		_ = f.Close() // nothing was written
	}
	return out
}
