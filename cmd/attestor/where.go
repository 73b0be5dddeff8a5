package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/posture"
)

const defaultConfig = "attestor.yaml"

// A judge decides about images: the engine in this process, or a service.
type judge struct {
	admit  func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	close  func() error
	engine *engine.Engine // nil: a service judges, and shows no more than its decisions
}

// localJudge judges as whoever runs this, and tells a person that it waits.
func localJudge(c *cobra.Command, e *engine.Engine) *judge {
	return &judge{
		engine: e,
		close:  e.Close,
		admit: func(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
			if r.Wait > 0 {
				defer saysThatItWaits(c.ErrOrStderr(), r.Image.String(), r.Wait)()
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
	c.Flags().StringVar(server, "server", os.Getenv("ATTESTOR_SERVER"),
		"ask the service at this `URL` (also ATTESTOR_SERVER)")
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
	token, err := i.Source(server, os.Getenv)
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Server: server, Token: token, Notice: c.ErrOrStderr(), Version: version})
}

func (f *whereFlags) client(c *cobra.Command) (*client.Client, error) {
	return newClient(c, f.server, f.identity)
}

// judge is the service where --server names one, else an engine. policies, unless
// there are none, replace those of the configuration.
func (f *whereFlags) judge(c *cobra.Command, policies []string, o engine.Options) (*judge, error) {
	if f.server == "" {
		e, err := f.engine(c, policies, o)
		if err != nil {
			return nil, err
		}
		return localJudge(c, e), nil
	}

	if f.config != "" {
		return nil, errors.New("--server and --config exclude each other: a service has its own configuration")
	}
	if len(policies) > 0 || len(o.Scans) > 0 {
		return nil, errors.New("--policy and --scan judge in this process: leave out --server")
	}

	cl, err := f.client(c)
	if err != nil {
		return nil, err
	}
	return &judge{admit: cl.Admit, close: cl.Close}, nil
}

// engine joins the stages in this process, by the configuration and, unless there
// are none, other policies.
func (f *whereFlags) engine(c *cobra.Command, policies []string, o engine.Options) (_ *engine.Engine, err error) {
	path := f.config
	if path == "" {
		path = defaultConfig
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("there is neither --server nor --config, and no attestor.yaml here: " +
				"name a service, or a configuration to judge by; `attestor dev` starts one to try")
		}
	}

	if o.Config, err = engine.LoadConfig(path, os.Getenv); err != nil {
		return nil, err
	}
	if len(policies) > 0 {
		o.Config.Policies = policies
	}

	if o.Emulators, err = google.FindEmulators(os.Getenv, f.remoteEmu); err != nil {
		return nil, err
	}
	o.Logger, o.Version = newLogger(c, slog.LevelWarn), version
	return engine.New(c.Context(), o)
}

// newLogger writes to the command's standard error.
func newLogger(c *cobra.Command, level slog.Level) *slog.Logger {
	return engine.NewLogger(c.ErrOrStderr(), level, "")
}
