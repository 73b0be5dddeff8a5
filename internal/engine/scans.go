package engine

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/api/ondemandscanning/v1"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/vuln"
)

// named asks the scanner, and counts the scans beside it that somebody named.
type named struct {
	attestor.Scanner
	scans []attestor.Scanner
}

// Scans implements [attestor.Scanner]. It adds what the named scans found. One
// that does not count, of another digest or in a project that the policy does not
// trust, is the answer: whoever named it wants to know.
//
// What was found is added and never taken away, whatever the state of the scan that
// found it, so that naming a scan cannot make a refused image pass.
func (n named) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	// Asked in any case: what was found already counts.
	scans := n.Scanner.Scans(ctx, requests)
	if len(scans) != len(requests) {
		return scans // the gate refuses it
	}
	answered := make([]bool, len(scans)) // a named scan that does not count is the answer
	for _, s := range n.scans {
		for i, more := range s.Scans(ctx, requests) {
			unfit := more.State != attestor.ScanComplete
			if !answered[i] && (unfit || scans[i].State == attestor.ScanNotFound) {
				scans[i], answered[i] = withFound(more, scans[i]), unfit
				continue
			}
			scans[i] = withFound(scans[i], more)
		}
	}
	return scans
}

// withFound is a scan with what another one found of the same image. Their lists are copied: a scan is shared by all who
// asked for it.
func withFound(scan, other attestor.Scan) attestor.Scan {
	scan.Findings = slices.Concat(scan.Findings, other.Findings)
	scan.Secrets = slices.Concat(scan.Secrets, other.Secrets)
	scan.SecretsListed = scan.SecretsListed || other.SecretsListed
	scan.KindsUnlisted = scan.KindsUnlisted || other.KindsUnlisted

	// Kinds are named once each.
	scan.Unread = slices.Clone(scan.Unread)
	for _, u := range other.Unread {
		if i := slices.IndexFunc(scan.Unread, func(k attestor.UnreadKind) bool { return k.Kind == u.Kind }); i >= 0 {
			scan.Unread[i].Count += u.Count
		} else {
			scan.Unread = append(scan.Unread, u)
		}
	}
	slices.SortFunc(scan.Unread, func(a, b attestor.UnreadKind) int { return strings.Compare(a.Kind, b.Kind) })

	// Of two systems the one that ends first counts: either can only make the verdict worse.
	if o := other.System; o != nil && (scan.System == nil || o.End != "" &&
		(scan.System.End == "" || o.End < scan.System.End)) {
		scan.System = o
	}
	return scan
}

// withNamedScans adds the On-Demand scans that were named to a scanner.
func (e *Engine) withNamedScans(ctx context.Context, s attestor.Scanner) (attestor.Scanner, error) {
	if len(e.o.Scans) == 0 {
		return s, nil
	}

	options := []option.ClientOption{option.WithUserAgent("attestor/" + e.o.Version)}
	// There is no emulator of On-Demand Scanning among ours; this names one.
	if host := os.Getenv("ONDEMANDSCANNING_EMULATOR_HOST"); host != "" && e.o.Emulators != (google.Emulators{}) {
		options = append(options, option.WithEndpoint("http://"+host), option.WithoutAuthentication())
	}
	service, err := ondemandscanning.NewService(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to On-Demand Scanning: %w", err)
	}

	out := named{Scanner: s}
	for _, name := range e.o.Scans {
		scan, err := vuln.NewOnDemand(vuln.OnDemandConfig{
			Service: service, Name: name, Ends: e.ends,
			Limit: limit.Call(e.Config.Dependencies.Timeouts.ContainerAnalysis),
		})
		if err != nil {
			return nil, err
		}
		out.scans = append(out.scans, scan)
	}
	return out, nil
}
