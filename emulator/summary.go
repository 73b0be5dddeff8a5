package emulator

import (
	"cmp"
	"context"
	"slices"

	analysispb "google.golang.org/genproto/googleapis/devtools/containeranalysis/v1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// GetVulnerabilityOccurrencesSummary counts by resource and severity. The row
// without a severity is the total over all, as the live service has it.
func (s *analysisService) GetVulnerabilityOccurrencesSummary(
	ctx context.Context,
	r *analysispb.GetVulnerabilityOccurrencesSummaryRequest,
) (*analysispb.VulnerabilityOccurrencesSummary, error) {
	if err := checkName(s.names.parent, "parent", r.GetParent()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.list", r.GetParent()); err != nil {
		return nil, err
	}

	n, err := parseFilter(r.GetFilter())
	if err != nil {
		return nil, err
	}
	type key struct {
		resource string
		severity grafeaspb.Severity
	}

	type count = analysispb.VulnerabilityOccurrencesSummary_FixableTotalByDigest
	counts := map[key]*count{}
	add := func(k key, fixable bool) {
		c := counts[k]
		if c == nil {
			c = &count{ResourceUri: k.resource, Severity: k.severity}
			counts[k] = c
		}

		c.TotalCount++
		if fixable {
			c.FixableCount++
		}
	}

	// The index narrows the rows, and the filter decides, as in lists.
	s.store.mu.RLock()
	for _, row := range (&grafeasService{Emulator: s.Emulator}).candidates(n, r.GetParent(), 0) {
		v := &occView{row: row, vex: s.carryVEX}
		if row.dead || row.occ.kind != grafeaspb.NoteKind_VULNERABILITY || !under(row, r.GetParent()) ||
			!matches(n, v) {
			continue
		}

		vuln := v.message().GetVulnerability()
		add(key{resource: row.occ.resource}, vuln.GetFixAvailable())
		if sev := vuln.GetEffectiveSeverity(); sev != grafeaspb.Severity_SEVERITY_UNSPECIFIED {
			add(key{row.occ.resource, sev}, vuln.GetFixAvailable())
		}
	}

	s.store.mu.RUnlock()
	out := &analysispb.VulnerabilityOccurrencesSummary{}
	for _, c := range counts {
		out.Counts = append(out.Counts, c)
	}

	slices.SortFunc(out.Counts, func(a, b *count) int {
		return cmp.Or(
			cmp.Compare(a.GetResourceUri(), b.GetResourceUri()),
			cmp.Compare(a.GetSeverity(), b.GetSeverity()),
		)
	})
	return out, nil
}
