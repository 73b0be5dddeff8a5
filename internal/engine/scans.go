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

// Scan implements [attestor.Scanner]. It adds what the named scans found. One
// that does not count, of another digest or in a project that the policy does not
// trust, is the answer: whoever named it wants to know.
//
// Findings are added and never taken away, so that naming a scan cannot make a
// refused image pass that was scanned already.
func (n named) Scan(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	scan := n.Scanner.Scan(ctx, r)
	for _, s := range n.scans {
		more := s.Scan(ctx, r)
		switch {
		case more.State != attestor.ScanComplete:
			return more
		case scan.State == attestor.ScanComplete:
			scan.Findings = append(scan.Findings, more.Findings...)
		case scan.State == attestor.ScanNotFound:
			scan = more
		}
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
			Service: service, Name: name, Ends: e.ends, Limit: limit.Call(e.Config.Dependencies.Timeouts.ContainerAnalysis),
		})
		if err != nil {
			return nil, err
		}
		out.scans = append(out.scans, scan)
	}
	return out, nil
}
