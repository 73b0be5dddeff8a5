package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/report"
)

// simulateFlags say by what to judge, and which records.
type simulateFlags struct {
	files  []string
	day    string
	since  string
	server string
	as     client.Identity
	format string
	fail   bool
	sample int
	resume string
}

func policySimulateCommand() *cobra.Command {
	f := &simulateFlags{}
	c := &cobra.Command{
		Use:   "simulate RECORDS | simulate --server URL",
		Short: "Judge recorded evidence by other policies and print the images that would be answered otherwise",
		Long: `Reads what attestor decisions export wrote (NDJSON; - is standard input), judges each record by the
policies given, and prints counts and every image that would be answered otherwise, by reason and owner.
Evidence that was gathered for less than a policy asks about is answered with EVIDENCE_MISSING, not by a guess:
neither a pass nor a denial.
What a policy refuses from a later day on (effectiveFrom) is counted by day; --at judges as on that day.
With --server a service judges its own record, of the images that the caller may simulate: page by page, so that any period
can be judged. With --resume FILE an interrupted simulation goes on where it was, and --sample N judges one of N decisions.`,
		Example: "  attestor policy simulate --policy new/production.yaml march.ndjson\n" +
			"  attestor policy simulate --policy new/production.yaml --server https://gate.example --since 30d",
		Args: cobra.MaximumNArgs(1),
		RunE: f.run,
	}

	c.Flags().StringArrayVar(&f.files, "policy", nil, "policy `FILE` or directory (repeatable)")
	c.Flags().BoolVar(&f.fail, "fail", false, "end with 1 where an image that passed would no longer")
	c.Flags().StringVar(&f.day, "at", "",
		"judge as on this `DATE` as far as effectiveFrom and the ends of exceptions go (default: when each "+
			"decision was made)")
	c.Flags().StringVar(&f.since, "since", "", "with --server: records from this time on, 30d by default; a duration "+
		"ago, a date, or RFC 3339")
	c.Flags().IntVar(&f.sample, "sample", 0, "with --server: judge one of `N` decisions, and say so; by default all")
	c.Flags().StringVar(&f.resume, "resume", "",
		"with --server: keep what was judged in this `FILE` and go on from there; it is deleted at the end")
	serverFlag(c, &f.server)
	identityFlags(c, &f.as)
	if err := c.MarkFlagRequired("policy"); err != nil {
		panic("attestor: the flag policy does not exist") // a constant
	}
	reportFlag(c, &f.format, report.OfSimulation, report.Text)

	return c
}

func (f *simulateFlags) run(c *cobra.Command, args []string) error {
	if len(args) > 0 && given(c, "server") {
		return errors.New("--server judges the record of the service: leave out " + inputName(args[0]) +
			", or --server")
	}

	set, err := policy.Load(f.files...)
	if err != nil {
		return err
	}

	var simulated policy.Report
	var where string
	switch {
	case len(args) > 0:
		where = inputName(args[0])
		simulated, err = f.file(c, set, args[0])
	case f.server != "":
		where = "the record of " + f.server
		simulated, err = f.service(c, set)
	default:
		return errors.New("say which records: a file that attestor decisions export wrote, - for standard input, " +
			"or --server")
	}
	if err != nil {
		return err
	}

	if err := judgedNothing(simulated, where, len(args) == 0, set); err != nil {
		return err
	}
	if err := writeReport(c, f.format, simulationDocument(simulated)); err != nil {
		return err
	}

	// An image that was refused before and is refused still is no reason to fail.
	passed := func(f attestor.Flip) bool { return f.Before == attestor.Pass }
	if f.fail && slices.ContainsFunc(simulated.Flips, passed) {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

// file judges the records of an export in this process.
func (f *simulateFlags) file(c *cobra.Command, set *policy.Set, name string) (policy.Report, error) {
	if f.sample != 0 || f.resume != "" {
		return policy.Report{}, errors.New("--sample and --resume are for the record of a service: give --server")
	}
	if f.since != "" {
		return policy.Report{}, errors.New("--since is for the record of a service: give it to attestor decisions " +
			"export, which wrote the file")
	}

	var at time.Time
	if f.day != "" {
		var err error
		if at, err = when.ParseDate(f.day); err != nil {
			return policy.Report{}, &attestor.Error{Kind: attestor.Invalid, Msg: "--at: " + err.Error()}
		}
	}

	in, done, err := openRecords(c, name)
	if err != nil {
		return policy.Report{}, err
	}
	defer done()
	return policy.SimulateAt(set, policy.ReadRecords(in), at)
}

// judgedNothing is the error of a simulation that judged nothing: "no image would be answered otherwise" would be true
// of it, and say nothing about the policies. A service looks only at decisions on images of the policy.
func judgedNothing(r policy.Report, where string, served bool, set *policy.Set) error {
	switch {
	case r.Judged > 0:
		return nil
	case r.Records == 0 && served:
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "expected recorded decisions on images that these policies govern, in " + where + ", found none",
			Fix: "they cover " + strings.Join(coveredBy(set), ", ") + ": correct spec.images, or give an earlier --since; " +
				"attestor decisions list shows what there is",
		}
	case r.Records == 0:
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "expected recorded decisions, one JSON document a line, in " +
				where + ", found none",
			Fix: "write them by attestor decisions export, over a period with decisions",
		}
	}

	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg: fmt.Sprintf("these policies govern none of the images in %s of %s",
			describe.Plural(r.Records, "record"), where),
		Fix: "they cover " + strings.Join(coveredBy(set), ", ") + ": give records of such images, or the policy of " +
			"those images",
	}
}

// coveredBy are the patterns of the images that policies govern.
func coveredBy(set *policy.Set) []string {
	var covered []string
	for _, p := range set.All() {
		for _, pattern := range p.Images() {
			covered = append(covered, pattern.String())
		}
	}
	return covered
}

// openRecords opens a file, with a progress bar where somebody watches.
func openRecords(c *cobra.Command, name string) (in io.Reader, done func(), err error) {
	if name == "-" {
		return c.InOrStdin(), func() {}, nil
	}

	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading records: %w", err)
	}

	done = func() { _ = f.Close() } // it was only read
	info, err := f.Stat()
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("reading records: %w", err)
	}

	if !isTerminal(c.ErrOrStderr()) {
		return f, done, nil
	}

	bar := progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(c.ErrOrStderr()),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("judging"), progressbar.OptionClearOnFinish())
	reader := progressbar.NewReader(f, bar)
	return &reader, done, nil
}

// simulationDocument is the headline, and tables: verdicts before and after,
// flips by reason and by owner, every flip.
func simulationDocument(r policy.Report) report.Document {
	number := func(name string) report.Column { return report.Column{Name: name, Kind: report.Number} }
	verdicts := report.Table{Columns: []report.Column{
		{Name: "verdict"}, number("decisions before"), number("decisions after"), number("images before"),
		number("images after"),
	}}
	for _, o := range []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided} {
		verdicts.Rows = append(verdicts.Rows, []string{
			string(o), strconv.Itoa(r.Before[o]), strconv.Itoa(r.After[o]),
			strconv.Itoa(r.Images.Before[o]), strconv.Itoa(r.Images.After[o]),
		})
	}

	if r.Outside > 0 {
		verdicts.Rows = append(verdicts.Rows, []string{"outside", strconv.Itoa(r.Outside),
			strconv.Itoa(r.Outside), "", ""})
	}

	// Tables without rows are left out: each that is shown has something to say.
	tables := []report.Table{verdicts}
	if len(r.Upcoming) > 0 {
		later := report.Table{Columns: []report.Column{
			{Name: "refused from"}, {Name: "owner"}, number("images"), {Name: "reasons"},
		}}
		for _, u := range r.Upcoming {
			later.Rows = append(later.Rows, []string{
				u.EffectiveFrom, u.Owner, strconv.Itoa(u.Images), joinCodes(byCount(u.ByReason)),
			})
		}
		tables = append(tables, later)
	}

	if len(r.Flips) > 0 {
		flips := report.Table{Columns: []report.Column{
			{Name: "image", Kind: report.Code}, {Name: "owner"}, {Name: "before"}, {Name: "after"}, {Name: "reasons"},
		}}
		for _, f := range r.Flips {
			flips.Rows = append(flips.Rows, []string{f.Image, f.Owner, string(f.Before), string(f.After), flipCodes(f)})
		}
		tables = append(tables, countTable("reason", r.ByReason), countTable("owner", r.ByOwner), flips)
	}

	return report.Document{Kind: report.OfSimulation, Value: r, Parts: []report.Part{{
		Tool: "attestor policy simulate", Layout: report.AsTable, Verdict: attestor.Pass,
		Lead: r.Summary(), Tables: tables,
	}}}
}

// countTable lists how many images each key has, the most first.
func countTable[K ~string](name string, counts map[K]int) report.Table {
	t := report.Table{Columns: []report.Column{{Name: name}, {Name: "images", Kind: report.Number}}}
	for _, k := range byCount(counts) {
		t.Rows = append(t.Rows, []string{string(k), strconv.Itoa(counts[k])})
	}

	return t
}

func flipCodes(f attestor.Flip) string {
	var codes []attestor.Code
	for _, r := range f.Reasons {
		if !slices.Contains(codes, r.Code) {
			codes = append(codes, r.Code)
		}
	}

	return joinCodes(codes)
}

// byCount lists keys, the most frequent first.
func byCount[K ~string](counts map[K]int) []K {
	return slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}
