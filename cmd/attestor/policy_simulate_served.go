package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/policy"
)

// service has a service judge its own record, by one policy at a time and page by page.
func (f *simulateFlags) service(c *cobra.Command, set *policy.Set) (_ policy.Report, err error) {
	all := set.All()
	switch {
	case len(all) != 1:
		return policy.Report{}, fmt.Errorf("--server judges by one policy at a time; these are %d", len(all))
	case f.sample < 0:
		return policy.Report{}, errors.New("--sample: want a number of 1 or more")
	}

	kept, err := f.keptSimulation(all[0].Ref())
	if err != nil {
		return policy.Report{}, err
	}
	cl, err := newClient(c, f.server, f.as)
	if err != nil {
		return policy.Report{}, err
	}
	defer func() { err = errors.Join(err, cl.Close()) }()

	// Each page is merged into what came before: counts add up, and an image counts once.
	merged := policy.NewMerger(kept.Report)
	named := map[string]bool{kept.Token: true}
	for {
		got, err := cl.Simulate(c.Context(), all[0].Text(), client.SimulationPage{
			Since: f.since, Day: f.day, Sample: f.sample, Token: kept.Token,
		})
		if err != nil {
			return policy.Report{}, f.interrupted(err)
		}
		merged.Add(partOf(got))

		// A service that gave a token again that it gave before would be asked for ever.
		if got.NextPageToken != "" && named[got.NextPageToken] {
			return policy.Report{}, &attestor.Error{Kind: attestor.Upstream,
				Msg: "the service gave the same page of the " +
					"simulation twice", Fix: "try again; if it persists, report this as a defect of the gate"}
		}

		named[got.NextPageToken] = true

		// The state is kept after each page, so that an interruption loses one page.
		kept.Token, kept.Report = got.NextPageToken, merged.Report()
		if kept.Token == "" {
			clearLine(c.ErrOrStderr())
			return kept.Report, f.forget()
		}
		if err := f.keep(kept); err != nil {
			return policy.Report{}, err
		}
		tellReached(c.ErrOrStderr(), kept.Report.Judged, got.Since, got.Reached)
	}
}

// partOf is a page as the part of a report.
func partOf(got client.Simulated) policy.Report {
	return policy.Report{
		Records: got.Judged, Judged: got.Judged, Before: got.Counts.Before, After: got.Counts.After, Sample: got.Sample,
		Images: policy.ImageCounts(got.Images), Flips: got.Flips, Upcoming: got.Upcoming,
	}
}

// A keptSimulation is what --resume keeps of a simulation.
type keptSimulation struct {
	Server string          `json:"server"`
	Policy attestor.Digest `json:"policy"`
	Since  string          `json:"since"`
	Day    string          `json:"at"`
	Sample int             `json:"sample"`
	Token  string          `json:"pageToken"`
	Report policy.Report   `json:"report"`
}

// maxKept bounds the file of --resume, in bytes.
const maxKept = 1 << 30

// keptSimulation reads the file of --resume, and begins anew where there is none. What belongs to another simulation is
// refused: its numbers would be added to those of this one.
func (f *simulateFlags) keptSimulation(p attestor.PolicyRef) (keptSimulation, error) {
	begin := keptSimulation{Server: f.server, Policy: p.Digest, Since: f.since, Day: f.day, Sample: f.sample}
	if f.resume == "" {
		return begin, nil
	}
	in, err := os.Open(f.resume)
	if errors.Is(err, os.ErrNotExist) {
		return begin, nil
	}
	if err != nil {
		return begin, fmt.Errorf("--resume: %w", err)
	}
	defer in.Close() //nolint:errcheck // read only

	var kept keptSimulation
	if err := json.NewDecoder(io.LimitReader(in, maxKept)).Decode(&kept); err != nil {
		return begin, fmt.Errorf("--resume: %s is not what a simulation kept: %w", inputName(f.resume), err)
	}

	// The rest must be equal: whose record, by which policy, of which period, day and sample.
	same := kept
	same.Token, same.Report = "", policy.Report{}
	if fmt.Sprint(same) != fmt.Sprint(begin) || kept.Token == "" {
		return begin, fmt.Errorf("--resume: %s is of another simulation: of another service, policy or period; give "+
			"the same flags, "+
			"or another file", inputName(f.resume))
	}
	return kept, nil
}

// keep writes the file of --resume: as a whole or not at all, whenever the process is killed.
func (f *simulateFlags) keep(kept keptSimulation) error {
	if f.resume == "" {
		return nil
	}

	err := writeFile(f.resume, 0o600, func(w io.Writer) error { return json.NewEncoder(w).Encode(kept) })
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	return nil
}

// forget deletes the file of --resume of a simulation that has ended.
func (f *simulateFlags) forget() error {
	if f.resume == "" {
		return nil
	}
	if err := os.Remove(f.resume); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--resume: %w", err)
	}
	return nil
}

// interrupted adds to an error how to go on.
func (f *simulateFlags) interrupted(err error) error {
	if f.resume == "" {
		return err
	}
	if _, missing := os.Stat(f.resume); missing != nil {
		return err
	}
	return fmt.Errorf("%w; what was judged until now is in %s: the same command goes on from there", err,
		inputName(f.resume))
}

// tellReached prints how far a simulation is, where somebody watches.
func tellReached(w io.Writer, judged int, since, reached time.Time) {
	if !isTerminal(w) || reached.IsZero() {
		return
	}
	_, _ = fmt.Fprintf(w, "\r\033[Kjudged %s, back to %s of %s", describe.Plural(judged, "decision"), // a help only
		reached.Format("2006-01-02 15:04"), since.Format("2006-01-02 15:04"))
}

// clearLine removes what tellReached wrote.
func clearLine(w io.Writer) {
	if isTerminal(w) {
		_, _ = io.WriteString(w, "\r\033[K")
	}
}
