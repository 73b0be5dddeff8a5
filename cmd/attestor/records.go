package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/report"
)

// recordFlags say which decisions are wanted, and where they are kept.
type recordFlags struct {
	server, config string
	identity       tokenFlags
	image          string
	repository     string
	verdict        string
	policy         string
	since, until   string
	limit          int
}

func (f *recordFlags) register(c *cobra.Command) {
	f.where(c)
	c.Flags().StringVar(&f.image, "image", "", "of this image: REPOSITORY@DIGEST, a digest, or REPOSITORY:TAG")
	c.Flags().StringVar(&f.repository, "repository", "", "of this repository, or pattern of repositories")
	c.Flags().StringVar(&f.verdict, "verdict", "", "pass, deny or error")
	c.Flags().StringVar(&f.policy, "policy", "", "by this policy")
	c.Flags().StringVar(&f.since, "since", "", "from this time on: RFC 3339, or how long ago, such as 30d")
	c.Flags().StringVar(&f.until, "until", "", "before this time")
}

func (f *recordFlags) where(c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", os.Getenv("ATTESTOR_SERVER"), "ask the service at this `URL` (also ATTESTOR_SERVER)")
	c.Flags().StringVar(&f.config, "config", "", "read the record of this configuration `FILE`; attestor.yaml where there is one")
	f.identity.register(c)
}

// filter checks what was asked.
func (f *recordFlags) filter(now time.Time) (audit.Filter, error) {
	out := audit.Filter{Image: f.image, Repository: f.repository, Policy: f.policy, Verdict: attestor.Outcome(f.verdict)}
	switch out.Verdict {
	case "", attestor.Pass, attestor.Deny, attestor.Undecided:
	default:
		return out, fmt.Errorf("--verdict %q: want pass, deny or error", f.verdict)
	}
	var err error
	if out.Since, err = moment(f.since, now); err != nil {
		return out, fmt.Errorf("--since: %w", err)
	}
	if out.Until, err = moment(f.until, now); err != nil {
		return out, fmt.Errorf("--until: %w", err)
	}
	return out, nil
}

// moment reads a time; "" is the zero time.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return when.ParseInstant(s, now)
}

// records is where decisions are read from: a service, or the record itself.
type records interface {
	Decisions(ctx context.Context, f audit.Filter) iter.Seq2[attestor.Decision, error]
	Record(ctx context.Context, id string) (attestor.Record, error)
	PolicyText(ctx context.Context, id string) ([]byte, error) // of what judged a decision
	Close() error
}

// localRecords is the record itself.
type localRecords struct{ store }

// PolicyText is part of the record.
func (l localRecords) PolicyText(ctx context.Context, id string) ([]byte, error) {
	r, err := l.Record(ctx, id)
	return r.PolicyText, err
}

func (f *recordFlags) open(c *cobra.Command) (records, error) {
	if f.server != "" {
		token, err := f.identity.source(f.server, os.Getenv)
		if err != nil {
			return nil, err
		}
		cl, err := newClient(f.server, token, c.ErrOrStderr())
		return remoteRecords{cl}, err
	}
	s, err := f.openStore(c.Context())
	return localRecords{s}, err
}

// itself opens the record for what a service does not do.
func (f *recordFlags) itself(c *cobra.Command) (store, error) {
	if c.Flags().Changed("server") {
		return nil, errors.New("this works on the record itself, not through a service: leave out --server, and name the record's configuration by --config")
	}
	return f.openStore(c.Context())
}

func (f *recordFlags) openStore(ctx context.Context) (store, error) {
	path := f.config
	if path == "" {
		path = defaultConfig
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("there is neither --server nor --config, and no attestor.yaml here: name a service, or the configuration whose record is meant")
		}
	}
	conf, err := loadConfig(path, os.Getenv)
	if err != nil {
		return nil, err
	}
	return openStore(ctx, conf.Store)
}

// remoteRecords reads what a service lets the caller see.
type remoteRecords struct{ *client }

func (r remoteRecords) Record(ctx context.Context, id string) (attestor.Record, error) {
	resp, err := r.do(ctx, "GET", "/v1/decisions/"+url.PathEscape(id), nil, nil)
	if err != nil {
		return attestor.Record{}, err
	}
	var d attestor.Decision
	if resp.status != 200 || json.Unmarshal(resp.body, &d) != nil {
		return attestor.Record{}, resp.problem()
	}
	return attestor.Record{Decision: d}, nil
}

func (r remoteRecords) PolicyText(ctx context.Context, id string) ([]byte, error) {
	resp, err := r.do(ctx, "GET", "/v1/decisions/"+url.PathEscape(id)+"/policy", nil, nil)
	if err != nil {
		return nil, err
	}
	var p struct{ Digest, Text string }
	if resp.status != 200 || json.Unmarshal(resp.body, &p) != nil {
		return nil, resp.problem()
	}
	return []byte(p.Text), nil
}

func (r remoteRecords) Decisions(ctx context.Context, f audit.Filter) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) {
		query := url.Values{"pageSize": {"200"}}
		for name, v := range map[string]string{"image": f.Image, "repository": f.Repository, "verdict": string(f.Verdict), "policy": f.Policy} {
			if v != "" {
				query.Set(name, v)
			}
		}
		for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
			if !t.IsZero() {
				query.Set(name, t.UTC().Format(time.RFC3339Nano))
			}
		}
		for {
			resp, err := r.do(ctx, "GET", "/v1/decisions", query, nil)
			if err != nil {
				yield(attestor.Decision{}, err)
				return
			}
			var page struct {
				Decisions     []attestor.Decision `json:"decisions"`
				NextPageToken string              `json:"nextPageToken"`
			}
			if resp.status != 200 || json.Unmarshal(resp.body, &page) != nil {
				yield(attestor.Decision{}, resp.problem())
				return
			}
			for _, d := range page.Decisions {
				if !yield(d, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			query.Set("pageToken", page.NextPageToken)
		}
	}
}

func decisionsCommand() *cobra.Command {
	c := &cobra.Command{Use: "decisions", Short: "Search and export the record", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(decisionsListCommand(), decisionsExportCommand(), decisionsPruneCommand())
	return c
}

func decisionsListCommand() *cobra.Command {
	var f recordFlags
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List recorded decisions, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var out []attestor.Decision
			err := f.each(c, func(d attestor.Decision) bool {
				out = append(out, d)
				return f.limit <= 0 || len(out) < f.limit
			})
			if err != nil {
				return err
			}
			return writeReport(c, format, report.DecisionList(out))
		},
	}
	f.register(c)
	reportFlag(c, &format, report.OfDecisions, report.Text)
	c.Flags().IntVar(&f.limit, "limit", 50, "at most this many; 0 for all")
	return c
}

// each visits what was asked for until visit says that it is enough.
func (f *recordFlags) each(c *cobra.Command, visit func(attestor.Decision) bool) (err error) {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	r, err := f.open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for d, err := range r.Decisions(c.Context(), filter) {
		if err != nil {
			return err
		}
		if !visit(d) {
			return nil
		}
	}
	return nil
}

func decisionsExportCommand() *cobra.Command {
	var f recordFlags
	c := &cobra.Command{
		Use: "export", Short: "Write whole records, with their evidence, as NDJSON", Args: cobra.NoArgs,
		Long: "Writes whole records, evidence and policy text included, one JSON document a line. It reads the record itself, not a service.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			s, err := f.itself(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			n, err := s.Export(c.Context(), c.OutOrStdout(), filter)
			if err == nil {
				fmt.Fprintf(c.ErrOrStderr(), "%d records\n", n)
			}
			return err
		},
	}
	f.register(c)
	return c
}

func decisionsPruneCommand() *cobra.Command {
	var f recordFlags
	var before string
	c := &cobra.Command{
		Use: "prune --before 400d", Short: "Delete old decisions", Args: cobra.NoArgs,
		Long: "Deletes decisions from before a time, and what only they referred to. Export them first.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			t, err := moment(before, time.Now())
			if err != nil || t.IsZero() {
				return errors.Join(errors.New("--before: say from before when"), err)
			}
			s, err := f.itself(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			pruned, err := s.Prune(c.Context(), t)
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "%d decisions deleted\n", pruned.Decisions)
			}
			return err
		},
	}
	f.where(c)
	c.Flags().StringVar(&before, "before", "", "RFC 3339, or how long ago, such as 400d")
	_ = c.MarkFlagRequired("before")
	return c
}

func explainCommand() *cobra.Command {
	var f recordFlags
	var policyText bool
	c := &cobra.Command{
		Use: "explain ID", Short: "One recorded decision in sentences", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.Close()) }()
			if !policyText {
				rec, err := r.Record(c.Context(), args[0])
				if err != nil {
					return err
				}
				_, err = io.WriteString(c.OutOrStdout(), audit.Explain(rec))
				return err
			}
			text, err := r.PolicyText(c.Context(), args[0])
			if err != nil {
				return err
			}
			if len(text) == 0 {
				return errors.New("no policy judged this decision, so that there is no text")
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	f.where(c)
	c.Flags().BoolVar(&policyText, "policy-text", false, "print the text of the policy that judged, to judge by it again")
	return c
}

// writeFile replaces a file whole.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".attestor-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left where it was renamed
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}
