package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/filter"
)

// recordFlags say which decisions are wanted, and where they are kept.
type recordFlags struct {
	server, config string
	identity       client.Identity
	wanted         map[string]*string // flags, by the parameter's name
	limit          int
}

func (f *recordFlags) register(c *cobra.Command) {
	f.where(c)
	f.wanted = map[string]*string{}
	for _, p := range filter.Parameters() {
		f.wanted[p.Name] = c.Flags().String(p.Name, "", p.Help)
	}
}

func (f *recordFlags) where(c *cobra.Command) {
	serverFlag(c, &f.server)
	c.Flags().StringVar(&f.config, "config", "",
		"read the record of this configuration `FILE`; attestor.yaml where there is one")
	identityFlags(c, &f.identity)
}

// filter checks what was asked.
func (f *recordFlags) filter(c *cobra.Command, now time.Time) (filter.Filter, error) {
	values := map[string]string{}
	for name, v := range f.wanted {
		if !c.Flags().Changed(name) {
			continue
		}

		// A script whose variable is empty would get every decision.
		if strings.TrimSpace(*v) == "" {
			return filter.Filter{}, errors.New("--" + name + " is empty: leave it out for all decisions")
		}
		values[name] = *v
	}

	out, err := filter.Parse(values, now)
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		err = &attestor.Error{Kind: e.Kind, Msg: "--" + e.Msg, Fix: e.Fix} // the message begins with the flag's name
	}
	if err != nil {
		return filter.Filter{}, err
	}

	if remark := out.Remark(); remark != "" {
		fmt.Fprintln(c.ErrOrStderr(), "attestor: "+remark)
	}
	return out, nil
}

// records is where decisions are read from: a service, or the record itself. An id that is not recorded is an error of
// kind NotFound.
type records interface {
	Decisions(ctx context.Context, f filter.Filter) iter.Seq2[attestor.Decision, error]
	Record(ctx context.Context, id string) (attestor.Record, error)
	// PolicyText is the text of what judged a decision, never empty: a decision without a policy is an error of kind
	// NotFound.
	PolicyText(ctx context.Context, id string) ([]byte, error)
	Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error)
	// Revocations are those of the filter's period and repositories.
	Revocations(ctx context.Context, f filter.Filter) iter.Seq2[attestor.RecordedRevocation, error]
	PolicyChanges(ctx context.Context) iter.Seq2[attestor.PolicyChange, error]
	Close() error
}

// localRecords is the record itself.
type localRecords struct{ *audit.Store }

// PolicyText is part of the record.
func (l localRecords) PolicyText(ctx context.Context, id string) ([]byte, error) {
	r, err := l.Record(ctx, id)
	if err != nil {
		return nil, err
	}

	// An empty text would be taken for a policy that asks for nothing.
	if r.Decision.Policy == nil || len(r.PolicyText) == 0 {
		return nil, &attestor.Error{
			Kind: attestor.NotFound, Msg: "this decision was made without a policy",
			Fix: "attestor explain " + id + " has the reason",
		}
	}
	return r.PolicyText, nil
}

// Revocations reads page by page.
func (l localRecords) Revocations(ctx context.Context, f filter.Filter) iter.Seq2[attestor.RecordedRevocation, error] {
	return func(yield func(attestor.RecordedRevocation, error) bool) {
		for token := ""; ; {
			page, err := l.ListRevocations(audit.MayLag(ctx), f, audit.MaxPageSize, token)
			if err != nil {
				yield(attestor.RecordedRevocation{}, err)
				return
			}
			for _, r := range page.Revocations {
				if !yield(r, nil) {
					return
				}
			}
			if token = page.Next; token == "" {
				return
			}
		}
	}
}

// remoteRecords is what a service lets the caller read.
type remoteRecords struct{ *client.Client }

func (f *recordFlags) open(c *cobra.Command) (records, error) {
	if f.server != "" {
		cl, err := newClient(c, f.server, f.identity)
		return remoteRecords{cl}, err
	}

	// Whoever can open the database can read all of it: no rights are checked here.
	s, err := f.openStore(c.Context())
	if err != nil {
		return nil, err
	}
	return localRecords{s}, readEarlier(c.Context(), s)
}

// readEarlier reads what earlier versions recorded of overrides and revocations, as a service does when it starts.
// Without this, no list would show them.
func readEarlier(ctx context.Context, s *audit.Store) error {
	if _, err := s.Fill(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// itself opens the record for what a service does not do.
func (f *recordFlags) itself(c *cobra.Command) (*audit.Store, error) {
	if given(c, "server") {
		return nil, errors.New("this works on the record itself, not through a service: " +
			"leave out --server, and name the record's configuration by --config")
	}
	return f.openStore(c.Context())
}

func (f *recordFlags) openStore(ctx context.Context) (*audit.Store, error) {
	// A default in another directory would show another gate's decisions without a word.
	path := f.config
	if path == "" {
		path = defaultConfig
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("nothing says whose record is meant, and there is no attestor.yaml here: " +
				"name a service by --server, or a configuration by --config")
		}
	}

	conf, err := engine.LoadConfig(path, os.Getenv)
	if err != nil {
		return nil, err
	}
	return engine.OpenStore(ctx, conf)
}

// configured loads the configuration that was named, or attestor.yaml.
func configured(path string) (config.Config, error) {
	if path == "" {
		path = defaultConfig
	}
	return engine.LoadConfig(path, os.Getenv)
}

// verifyLogFlags say what is compared with what.
type verifyLogFlags struct {
	recordFlags
	key         string
	checkpoints []string
	decision    string
	save        string
	format      string
	witnesses   []string
}

// maxEvidenceFile bounds a proof, a checkpoint and a decision, in bytes.
const maxEvidenceFile = 64 << 20

func readEvidence(path string) ([]byte, error) {
	in, err := os.Open(path) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxEvidenceFile+1))
	if err == nil && len(b) > maxEvidenceFile {
		err = fmt.Errorf("%s is larger than 64 MiB", path)
	}
	return b, err
}
