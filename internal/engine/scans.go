package engine

import (
	"context"
	"fmt"
	"os"

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
// Findings are added and never taken away, so that naming a scan cannot make a
// refused image pass that was scanned already.
func (n named) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	// Asked in any case: what was scanned already counts.
	scans := n.Scanner.Scans(ctx, requests)
	if len(scans) != len(requests) {
		return scans // the gate refuses it
	}

	answered := make([]bool, len(scans)) // a named scan that does not count is the answer
	for _, s := range n.scans {
		for i, more := range s.Scans(ctx, requests) {
			switch {
			case answered[i]:
			case more.State != attestor.ScanComplete:
				scans[i], answered[i] = more, true
			case scans[i].State == attestor.ScanComplete:
				scans[i].Findings = append(scans[i].Findings, more.Findings...)
			case scans[i].State == attestor.ScanNotFound:
				scans[i] = more
			}
		}
	}
	return scans
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
