package contract

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// A ReadRecord is a record as the commands that read it see it, with the means to
// fill it.
type ReadRecord struct {
	Records interface {
		Decisions(ctx context.Context, f filter.Filter) iter.Seq2[attestor.Decision, error]
		Record(ctx context.Context, id string) (attestor.Record, error)
		PolicyText(ctx context.Context, id string) ([]byte, error)
		Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error)
		Revocations(ctx context.Context, f filter.Filter) iter.Seq2[attestor.RecordedRevocation, error]
		PolicyChanges(ctx context.Context) iter.Seq2[attestor.PolicyChange, error]
	}
	Add    func(t *testing.T, records ...attestor.Record)
	Revoke func(t *testing.T, r attestor.RevocationRecord) // begins and finishes it
	Change func(t *testing.T, c attestor.PolicyChange)     // of the policies in force
}

// Records is the suite of what a command reads decisions from, the record itself or
// a service. open returns an empty record. A service gives no evidence away, so
// that none is asked for here.
func Records(t *testing.T, open func(t *testing.T) ReadRecord) {
	t.Run("filters", func(t *testing.T) { readFilters(t, open(t)) })
	t.Run("many", func(t *testing.T) { readMany(t, open(t)) })
	t.Run("one", func(t *testing.T) { readOne(t, open(t)) })
	t.Run("revocation", func(t *testing.T) { readRevocation(t, open(t)) })
	t.Run("revocations", func(t *testing.T) { readRevocations(t, open(t)) })
	t.Run("policy changes", func(t *testing.T) { readPolicyChanges(t, open(t)) })
	t.Run("unknown", func(t *testing.T) { readUnknown(t, open(t)) })
}

// read lists what the parameters select.
func (r ReadRecord) read(t *testing.T, values map[string]string) []int {
	t.Helper()
	f, err := filter.Parse(values, epoch.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}

	var out []attestor.Decision
	for d, err := range r.Records.Decisions(t.Context(), f) {
		if err != nil {
			t.Fatalf("Decisions(%v): %v", values, err)
		}
		out = append(out, d)
	}
	return numbersOf(out)
}

func readFilters(t *testing.T, r ReadRecord) {
	if got := r.read(t, nil); len(got) != 0 {
		t.Errorf("an empty record lists %v", got)
	}

	for n := range 6 {
		r.Add(t, recordOf(t, n, func(r *attestor.Record) {
			switch n {
			case 1:
				r.Decision.Verdict, r.Decision.Attestations = attestor.Deny, nil
			case 2:
				r.Decision.Verdict, r.Decision.Attestations = attestor.Undecided, nil
			case 3:
				other := imageOf(t, "registry.example/other/web", 3)
				r.Decision.Image.Requested, r.Decision.Image.Reference = "registry.example/other/web:v1", other.String()
				r.Evidence.Image = other
				r.Decision.Policy = &attestor.PolicyRef{Name: "staging", Digest: digestOf(7), Mode: attestor.DryRun}
			case 4:
				r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example"}
			}
		}))
	}

	third := epoch.Add(3 * time.Minute)
	for _, tt := range []struct {
		name   string
		values map[string]string
		want   []int
	}{
		{"all, newest first", nil, downFrom(6)},
		{"id", map[string]string{"id": "contract-000002"}, []int{2}},
		{"verdict", map[string]string{"verdict": "deny"}, []int{1}},
		{"undecided", map[string]string{"verdict": "error"}, []int{2}},
		{"image by digest", map[string]string{"image": imageOf(t, Repository, 5).String()}, []int{5}},
		{"image as it was asked about", map[string]string{"image": "registry.example/other/web:v1"}, []int{3}},
		{"repository", map[string]string{"repository": Repository}, []int{5, 4, 2, 1, 0}},
		{"pattern", map[string]string{"repository": "registry.example/other/**"}, []int{3}},
		{"end of a repository", map[string]string{"repository": "web"}, []int{3}},
		{"tag", map[string]string{"tag": "v1"}, []int{3}},
		{"policy", map[string]string{"policy": "staging"}, []int{3}},
		{"overridden", map[string]string{"override": "true"}, []int{4}},
		{"since, inclusive", map[string]string{"since": third.Format(time.RFC3339)}, []int{5, 4, 3}},
		{"since, to the microsecond", map[string]string{"since": third.Add(time.Microsecond).Format(time.RFC3339Nano)},
			[]int{5, 4}},
		{"until, exclusive", map[string]string{"until": third.Format(time.RFC3339)}, []int{2, 1, 0}},
		{"since a duration ago", map[string]string{"since": "56m"}, []int{5, 4}},
		{"text", map[string]string{"search": "staging"}, []int{3}},
		{"several at once", map[string]string{"verdict": "pass", "repository": Repository,
			"since": third.Format(time.RFC3339)}, []int{5, 4}},
		{"nothing", map[string]string{"policy": "' OR 1=1 --"}, []int{}},
	} {
		if got := r.read(t, tt.values); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// readMany reads more than two pages, and less than it could.
func readMany(t *testing.T, r ReadRecord) {
	const n = 450
	records := make([]attestor.Record, n)
	for i := range records {
		records[i] = recordOf(t, i, func(r *attestor.Record) {
			if i >= 100 && i < 350 { // at one moment, so that only the id tells them apart
				r.Decision.Time = epoch.Add(100 * time.Minute)
			}
		})
	}

	r.Add(t, records...)
	if got := r.read(t, nil); !slices.Equal(got, downFrom(n)) {
		t.Errorf("%d decisions, want each of %d once, newest first", len(got), n)
	}

	// Whoever has seen enough is given no more.
	seen := 0
	for _, err := range r.Records.Decisions(t.Context(), filter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d decisions were read, want 3", seen)
	}
}

func readOne(t *testing.T, r ReadRecord) {
	want := recordOf(t, 1)
	other := recordOf(t, 2, func(r *attestor.Record) {
		r.PolicyText = []byte("apiVersion: attestor/v1\nkind: GatePolicy\n# with \" quotes, ünïcode and\ttabs\n")
		r.Decision.Policy = &attestor.PolicyRef{Name: "other", Digest: digestOf(8), Mode: attestor.Enforce}
	})
	unjudged := recordOf(t, 3, func(r *attestor.Record) {
		r.Decision.Verdict, r.Decision.Attestations = attestor.Undecided, nil
		r.Decision.Policy, r.PolicyText = nil, nil
	})
	r.Add(t, want, other, unjudged)

	for _, record := range []attestor.Record{want, other, unjudged} {
		got, err := r.Records.Record(t.Context(), record.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}
		sameDecision(t, "Record", record.Decision, got.Decision)
	}

	for _, record := range []attestor.Record{want, other} {
		text, err := r.Records.PolicyText(t.Context(), record.Decision.ID)
		if err != nil || string(text) != string(record.PolicyText) {
			t.Errorf("PolicyText of %s: %q, %v; want %q", record.Decision.ID, text, err, record.PolicyText)
		}
	}

	// An empty text would be a policy that asks for nothing.
	text, err := r.Records.PolicyText(t.Context(), unjudged.Decision.ID)
	wantKind(t, "PolicyText of a decision without a policy", err, attestor.NotFound)
	if len(text) != 0 {
		t.Errorf("PolicyText of a decision without a policy: %q", text)
	}
}

func readRevocation(t *testing.T, r ReadRecord) {
	was := recordOf(t, 1)
	r.Add(t, was, recordOf(t, 2))
	want := attestor.RevocationRecord{
		ID: "revocation-a", Time: epoch.Add(time.Hour), Kind: attestor.RevokedByPerson, Image: was.Evidence.Image,
		Reason: "found to be malicious", Admitted: []string{}, Attestations: was.Decision.Attestations,
	}
	r.Revoke(t, want)

	got, err := r.Records.Revocation(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || !got.Time.Equal(want.Time) || got.Kind != want.Kind || got.Image != want.Image ||
		got.Reason != want.Reason ||
		len(got.Attestations) != 1 || got.Attestations[0].Occurrence != want.Attestations[0].Occurrence ||
		!slices.Equal(got.Admitted, []string{was.Decision.ID}) {
		t.Errorf("Revocation: %+v, want %+v of decision %s", got, want, was.Decision.ID)
	}

	if got := r.read(t, map[string]string{"revocation": "true"}); !slices.Equal(got, []int{1}) {
		t.Errorf("revoked: %v, want [1]", got)
	}

	// A revocation is no decision, and a decision no revocation.
	_, err = r.Records.Record(t.Context(), want.ID)
	wantKind(t, "Record of a revocation", err, attestor.NotFound)
	_, err = r.Records.Revocation(t.Context(), was.Decision.ID)
	wantKind(t, "Revocation of a decision", err, attestor.NotFound)
}

// readRevocations lists more than a page of them, by what a filter can say of them.
func readRevocations(t *testing.T, r ReadRecord) {
	read := func(values map[string]string) (out []string) {
		t.Helper()
		f, err := filter.Parse(values, epoch.Add(1000*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for one, err := range r.Records.Revocations(t.Context(), f) {
			if err != nil {
				t.Fatalf("Revocations(%v): %v", values, err)
			}
			if one.Log == nil || one.Log.Changed != "" {
				t.Errorf("%s: its entry is told as %+v", one.ID, one.Log)
			}
			out = append(out, one.ID)
		}
		return out
	}
	if got := read(nil); len(got) != 0 {
		t.Errorf("an empty record lists %v", got)
	}

	// The one in the middle is of another image, and several are of one moment.
	const n = 205
	var all []string
	for i := range n {
		img := imageOf(t, Repository, 1)
		if i == 100 {
			img = imageOf(t, "registry.example/other/web", 1)
		}
		id := fmt.Sprintf("revocation-%03d", i)
		r.Revoke(t, attestor.RevocationRecord{
			ID: id, Time: epoch.Add(time.Duration(i/2) * time.Minute), Kind: attestor.RevokedByPerson, Image: img,
			Reason: "found to be malicious", Admitted: []string{}, Attestations: []attestor.Attestation{},
		})
		all = append(all, id)
	}
	slices.Reverse(all)

	tenth := epoch.Add(10 * time.Minute).Format(time.RFC3339)
	for _, tt := range []struct {
		name   string
		values map[string]string
		want   []string
	}{
		{"all, newest first", nil, all},
		{"until, exclusive", map[string]string{"until": tenth}, all[n-20:]},
		{"since, inclusive", map[string]string{"since": tenth}, all[:n-20]},
		{"since a duration ago", map[string]string{"since": "898m"}, all[:1]},
		{"repository", map[string]string{"repository": "registry.example/other/web"}, []string{"revocation-100"}},
		{"end of a repository", map[string]string{"repository": "web"}, []string{"revocation-100"}},
		{"pattern", map[string]string{"repository": "registry.example/other/**"}, []string{"revocation-100"}},
		{"none", map[string]string{"repository": "registry.example/none/**"}, nil},
	} {
		if got := read(tt.values); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// readPolicyChanges lists more than a page of them. A service records its own policies too, as the first change or as a
// later one.
func readPolicyChanges(t *testing.T, r ReadRecord) {
	const n = 205
	for i := range n {
		r.Change(t, attestor.PolicyChange{
			ID: fmt.Sprintf("change-%03d", i), Time: epoch.Add(time.Duration(i) * time.Minute),
			Cause:    attestor.PoliciesReloaded,
			Policies: []attestor.PolicyInForce{{Name: "contract", Digest: digestOf(i), Source: "contract.yaml"}},
		})
	}

	next := n - 1
	for c, err := range r.Records.PolicyChanges(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Policies) != 1 || c.Policies[0].Name != "contract" {
			continue
		}
		if c.ID != fmt.Sprintf("change-%03d", next) || c.Policies[0].Digest != digestOf(next) || c.Log == nil ||
			c.Log.Changed != "" {
			t.Fatalf("change %d is told as %+v", next, c)
		}
		next--
	}
	if next != -1 {
		t.Errorf("%d changes are not listed", next+1)
	}
}

// readUnknown asks for what there is not, by ids that a path, a query and SQL could
// take for something else.
func readUnknown(t *testing.T, r ReadRecord) {
	want := recordOf(t, 1)
	r.Add(t, want)

	for _, id := range []string{
		"contract-999999", "", ".", "..", "../decisions", want.Decision.ID + "/policy", want.Decision.ID + "/",
		want.Decision.ID + "?a=b",
		want.Decision.ID + " ", "%2e%2e", "' OR 1=1 --", "ü",
	} {
		record, err := r.Records.Record(t.Context(), id)
		wantKind(t, fmt.Sprintf("Record(%q)", id), err, attestor.NotFound)
		if record.Decision.ID != "" || record.Decision.Verdict != "" {
			t.Errorf("Record(%q): %+v beside an error", id, record.Decision)
		}

		text, err := r.Records.PolicyText(t.Context(), id)
		wantKind(t, fmt.Sprintf("PolicyText(%q)", id), err, attestor.NotFound)
		if len(text) != 0 {
			t.Errorf("PolicyText(%q): %q beside an error", id, text)
		}

		revocation, err := r.Records.Revocation(t.Context(), id)
		wantKind(t, fmt.Sprintf("Revocation(%q)", id), err, attestor.NotFound)
		if revocation.ID != "" {
			t.Errorf("Revocation(%q): %+v beside an error", id, revocation)
		}
	}

	// Nobody may take an ended context for an empty record.
	read, failed := 0, false
	for _, err := range r.Records.Decisions(gone(t), filter.Filter{}) {
		if err != nil {
			failed = true
			continue
		}
		read++
	}
	if !failed && read == 0 {
		t.Error("Decisions with an ended context says that nothing is recorded")
	}
	if _, err := r.Records.Record(gone(t), want.Decision.ID); err != nil && attestor.KindOf(err) == attestor.NotFound {
		t.Errorf("Record with an ended context says that there is none: %v", err)
	}
}
