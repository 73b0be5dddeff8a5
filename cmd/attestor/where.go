package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/waiting"
	"github.com/attestor-gate/attestor/posture"
)

const defaultConfig = "attestor.yaml"

// A judge decides about images: the engine in this process, or a service.
type judge struct {
	admit  func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	close  func() error
	engine *engine.Engine // nil: a service judges, and shows no more than its decisions
}

// localJudge judges as whoever runs this, and prints that it waits.
func localJudge(c *cobra.Command, e *engine.Engine) *judge {
	return &judge{
		engine: e,
		close:  e.Close,
		admit: func(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
			if r.Wait > 0 {
				defer waiting.Start(c.ErrOrStderr(), "the scan of "+r.Image.String(), r.Wait).Stop()
			}
			r.Caller = engine.LocalCaller()
			return e.Admit(ctx, r)
		},
	}
}

// attested answers whether images are attested; nil: nobody is asked.
func (j *judge) attested() posture.Attested {
	if j.engine == nil {
		return nil
	}
	return j.engine.Attested()
}

// whereFlags say where decisions are made.
type whereFlags struct {
	server    string
	config    string
	remoteEmu bool
	identity  client.Identity
}

func (f *whereFlags) register(c *cobra.Command) {
	serverFlag(c, &f.server)
	c.Flags().StringVar(&f.config, "config", "",
		"run in this process by this configuration `FILE`; attestor.yaml where there is one")
	c.Flags().BoolVar(&f.remoteEmu, "allow-remote-emulator", false, "accept *_EMULATOR_HOST on another machine")
	identityFlags(c, &f.identity)
}

func serverFlag(c *cobra.Command, server *string) {
	c.Flags().StringVar(server, "server", "", "ask the service at this `URL`")
}

func identityFlags(c *cobra.Command, i *client.Identity) {
	c.Flags().StringVar(&i.File, "token-file", "", "read the ID token for the service from this `FILE`")
	c.Flags().StringVar(&i.Variable, "token-env", "",
		"read the ID token from this environment variable, such as a GitLab id_token's `NAME`")
	c.Flags().StringVar(&i.Account, "service-account", "",
		"get the ID token of this service account from IAM Credentials; by default the one that this runs as")
	c.Flags().StringVar(&i.Audience, "audience", "", "audience of the ID token; by default the service's URL")
}

// newClient connects to a service, as the identity that the flags say.
func newClient(c *cobra.Command, server string, i client.Identity) (*client.Client, error) {
	// Either could be meant, and the answer of one would be taken for that of the other.
	if given(c, "server") && given(c, "config") {
		return nil, errors.New("--server and --config exclude each other: a service has its own " +
			"configuration and record")
	}

	token, err := i.Source(server, os.Getenv)
	if err != nil {
		return nil, err
	}
	cl, err := client.New(client.Options{Server: server, Token: token, Notice: c.ErrOrStderr(), Version: version})
	if name := variableOf(c, "server"); err != nil && name != "" {
		// Whoever typed no --server would look for it in vain.
		return nil, errors.New(strings.Replace(err.Error(), "--server", name, 1))
	}
	return cl, err
}

func (f *whereFlags) client(c *cobra.Command) (*client.Client, error) {
	return newClient(c, f.server, f.identity)
}

// explain is the command that shows a decision made there: it names the same service or configuration, unless a
// variable or the working directory does.
func (f *whereFlags) explain(c *cobra.Command) string {
	switch {
	case given(c, "server"):
		return "attestor explain --server " + f.server
	case given(c, "config"):
		return "attestor explain --config " + f.config
	}
	return "attestor explain"
}

// A question is what a judge is made for.
type question struct {
	policies []string // files that replace those of the configuration; none: those hold
	hosts    []string // the registries of the images, for a dry run without a configuration
	options  engine.Options
}

// judge is the service where --server names one, else an engine.
func (f *whereFlags) judge(c *cobra.Command, q question) (*judge, error) {
	if f.server == "" {
		e, err := f.engine(c, q)
		if err != nil {
			return nil, err
		}
		return localJudge(c, e), nil
	}

	if len(q.policies) > 0 || len(q.options.Scans) > 0 {
		return nil, errors.New("--policy and --scan judge in this process: leave out --server")
	}

	cl, err := f.client(c)
	if err != nil {
		return nil, err
	}
	return &judge{admit: cl.Admit, close: cl.Close}, nil
}

// engine joins the stages in this process, by the configuration and, unless there are none, other policies. Without a
// configuration it judges by policies that were named, and signs nothing.
func (f *whereFlags) engine(c *cobra.Command, q question) (_ *engine.Engine, err error) {
	o := q.options
	if o.Emulators, err = google.FindEmulators(os.Getenv, f.remoteEmu); err != nil {
		return nil, err
	}

	// A configuration that was named, or is here, comes before policies without one.
	path, found := f.configured()
	switch {
	case found:
		if o.Config, err = engine.LoadConfig(path, os.Getenv); err != nil {
			return nil, err
		}
		if len(q.policies) > 0 {
			o.Config.Policies = q.policies
		}
	case len(q.policies) > 0:
		o.Unsigned = true
		if o.Config, err = engine.Unconfigured(q.policies, q.hosts, o.Emulators.Analysis != "", os.Getenv); err != nil {
			return nil, err
		}
	default:
		return nil, noConfiguration(c)
	}

	o.Logger, o.Version = newLogger(c, slog.LevelWarn), version
	e, err := engine.New(c.Context(), o)
	if err != nil && found && f.config == "" {
		// Nobody named this file: whoever reads the error must learn of it.
		err = errors.Join(err, &attestor.Error{
			Kind: attestor.Invalid, Msg: "this is by " + defaultConfig + ", which is in this directory",
			Fix: "correct it, or run the command in another directory",
		})
	}
	return e, err
}

// configured is the configuration that was named, or attestor.yaml where there is one.
func (f *whereFlags) configured() (path string, found bool) {
	if f.config != "" {
		return f.config, true
	}
	_, err := os.Stat(defaultConfig)
	return defaultConfig, err == nil
}

// noConfiguration says how to judge, by a command that cannot tell.
func noConfiguration(c *cobra.Command) error {
	ways := "name a service by --server, or a configuration by --config"
	if c.Flags().Lookup("policy") != nil {
		ways = "name the policy to judge by: --policy FILE; or a service by --server, or a configuration by --config"
	}
	return &attestor.Error{
		Kind: attestor.Invalid, Msg: "nothing says where or by what to judge, and there is no attestor.yaml here: " +
			ways,
		Fix: "attestor dev starts a service to try",
	}
}

// newLogger writes to the command's standard error, as text: a person reads it. A service logs in JSON.
func newLogger(c *cobra.Command, level slog.Level) *slog.Logger {
	return engine.NewTextLogger(c.ErrOrStderr(), level)
}
