package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A file is one that the configuration names, with the key that does.
type file struct {
	key  string
	path *string // "": the key was left out
}

// files are all that the configuration names and that must exist: what the gate makes by itself, such as an SQLite
// file, is not among them. They are listed once, so that a path that is made absolute is also one that is looked for.
func (c *Config) files() []file {
	var out []file
	add := func(key string, path *string) { out = append(out, file{key, path}) }
	add("trustedRoot", &c.TrustedRoot)
	add("store.postgres", &c.Store.Postgres)
	add("store.replica", &c.Store.Replica)
	add("telemetry.hashKey", &c.Telemetry.HashKey)
	if c.Telemetry.OTLP != nil {
		add("telemetry.otlp.ca", &c.Telemetry.OTLP.CA)
	}
	add("endOfLife.table", &c.EndOfLife.Table)
	if c.Identity != nil && c.Identity.Teams != nil {
		add("identity.teams.directory", &c.Identity.Teams.Directory)
	}

	for i := range c.Policies {
		add("policies", &c.Policies[i])
	}
	for i := range c.Attestors {
		add("attestors["+c.Attestors[i].Name+"].keyFile", &c.Attestors[i].KeyFile)
	}
	for i := range c.BuilderKeys {
		add("builderKeys["+c.BuilderKeys[i].ID+"].file", &c.BuilderKeys[i].File)
	}
	if c.Log != nil && !strings.HasPrefix(c.Log.Key, "gcpkms://") {
		add("log.key", &c.Log.Key)
	}

	if c.VSA != nil {
		add("vsa.passed.keyFile", &c.VSA.Passed.KeyFile)
		if c.VSA.Refused != nil {
			add("vsa.refused.keyFile", &c.VSA.Refused.KeyFile)
		}
		for i := range c.VSA.Former {
			add(fmt.Sprintf("vsa.former[%d]", i), &c.VSA.Former[i])
		}
	}

	if a := c.Admission; a != nil {
		add("admission.cert", &a.Cert)
		add("admission.key", &a.Key)
		add("admission.clientCA", &a.ClientCA)
	}

	if c.Events != nil {
		for _, r := range c.Events.Receivers {
			if r.Webhook != nil {
				add("events.receivers["+r.Name+"].webhook.secretFile", &r.Webhook.SecretFile)
				add("events.receivers["+r.Name+"].webhook.ca", &r.Webhook.CA)
			}
		}
	}
	return out
}

// resolve makes paths absolute, from the directory of the file.
func (c *Config) resolve(dir string, profile ProfileCheck) {
	paths := []*string{&c.Store.SQLite}
	for _, f := range c.files() {
		paths = append(paths, f.path)
	}

	// A profile that is not built in is a file.
	if isFile(c.PostureProfile) || profile(c.PostureProfile) != nil {
		paths = append(paths, &c.PostureProfile)
	}

	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// isFile reports whether a posture profile is a file: the names of those that are built in have no such character.
func isFile(profile string) bool { return strings.ContainsAny(profile, `./\`) }

// FilesMissing lists the files and directories that the configuration names and that cannot be opened, each with its
// key.
func (c Config) FilesMissing() []error {
	named := c.files()
	if isFile(c.PostureProfile) {
		named = append(named, file{"postureProfile", &c.PostureProfile})
	}

	var out []error
	for _, n := range named {
		if *n.path == "" {
			continue
		}
		f, err := os.Open(*n.path)
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
