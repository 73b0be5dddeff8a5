package audit_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// inForce is a change to policies, given as "NAME" or "NAME=TEXT".
func inForce(id string, cause attestor.PolicyCause, policies ...string) attestor.PolicyChange {
	c := attestor.PolicyChange{ID: id, Time: day, Cause: cause, Policies: []attestor.PolicyInForce{}}
	for _, p := range policies {
		name, text, _ := strings.Cut(p, "=")
		c.Policies = append(c.Policies, attestor.PolicyInForce{
			Name: name, Digest: attestor.DigestOf([]byte(text)), Source: id + "/" + name + ".yaml",
		})
	}
	return c
}

func policyChanges(t *testing.T, s *audit.Store) []attestor.PolicyChange {
	t.Helper()
	var out []attestor.PolicyChange
	for c, err := range s.PolicyChanges(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// A change is recorded once, with what changed, and nothing is recorded where the same policies come into force again.
func TestPolicyChangesAreRecorded(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		digest := func(text string) attestor.Digest { return attestor.DigestOf([]byte(text)) }
		for _, step := range []struct {
			change   attestor.PolicyChange
			recorded bool
			changes  []attestor.PolicyDiff
		}{
			{
				inForce("c1", attestor.PoliciesAtStart, "web=1", "base=1"), true,
				[]attestor.PolicyDiff{{Name: "base", After: digest("1")}, {Name: "web", After: digest("1")}},
			},
			{inForce("c2", attestor.PoliciesAtStart, "base=1", "web=1"), false, nil}, // in another order, from another place
			{inForce("c3", attestor.PoliciesReloaded, "web=2", "base=1"), true, []attestor.PolicyDiff{
				{Name: "web", Before: digest("1"), After: digest("2")},
			}},
			{inForce("c4", attestor.PoliciesReloaded, "web=2"), true, []attestor.PolicyDiff{{Name: "base", Before: digest("1")}}},
			{inForce("c5", attestor.PoliciesReloaded, "web=1", "base=1"), true, []attestor.PolicyDiff{
				{Name: "base", After: digest("1")}, {Name: "web", Before: digest("2"), After: digest("1")},
			}},
		} {
			recorded, err := s.RecordPolicies(t.Context(), step.change)
			if err != nil || recorded != step.recorded {
				t.Fatalf("%s: recorded %v, %v, want %v", step.change.ID, recorded, err, step.recorded)
			}
			if newest := policyChanges(t, s)[0]; recorded &&
				(newest.ID != step.change.ID || newest.Cause != step.change.Cause || !cmp.Equal(newest.Changes, step.changes)) {
				t.Errorf("%s is told as %+v, want the changes %+v", step.change.ID, newest, step.changes)
			}
		}

		// Each has an entry, and a prune leaves them.
		if _, err := s.Prune(t.Context(), day.AddDate(1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		v, faults := verified(t, s)
		if len(faults) != 0 || v.Records != 4 || v.Pruned != 0 {
			t.Errorf("%+v: %v, want 4 records", v, faults)
		}
	})
}

// Instances that put the same policies in force at the same time record one change.
func TestPolicyChangesOfInstancesAreNotDoubled(t *testing.T) {
	t.Parallel()
	c := clockAt(day)
	stores := map[string][]*audit.Store{}
	one := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: c.now, Log: signedLog(0)})
	stores["sqlite"] = []*audit.Store{one, one} // its file is one instance's
	t.Run("postgresql", func(t *testing.T) {
		dsn := shared.database(t)
		for range 3 {
			stores["postgresql"] = append(stores["postgresql"],
				open(t, audit.Config{PostgreSQL: dsn, Now: c.now, Log: signedLog(0)}))
		}

		for name, instances := range stores {
			for round := range 20 {
				var wg sync.WaitGroup
				for i, s := range instances {
					change := inForce(fmt.Sprintf("%d-%d", round, i), attestor.PoliciesReloaded, fmt.Sprintf("web=%d", round))
					wg.Go(func() {
						if _, err := s.RecordPolicies(t.Context(), change); err != nil {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
				wg.Wait()
			}

			if got := policyChanges(t, instances[0]); len(got) != 20 {
				t.Errorf("%s: %d changes of 20 are recorded", name, len(got))
			}
			if v, faults := verified(t, instances[0]); len(faults) != 0 || v.Records != 20 {
				t.Errorf("%s: %+v, %v", name, v, faults)
			}
		}
	})
}

// What somebody changes of a recorded change is found, and is not repeated.
func TestTamperedPolicyChangesAreFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, sql, says string }{
		{"another digest", `UPDATE policy_changes SET body = REPLACE(body, '"web"', '"any"') WHERE id = 'c2'`, "changed"},
		{"another time", `UPDATE policy_changes SET at = at - 1 WHERE id = 'c2'`, "changed"},
		{"another place", `UPDATE policy_changes SET n = 9 WHERE id = 'c2'`, "changed"},
		{"removed", `DELETE FROM policy_changes WHERE id = 'c2'`, "removed"},
		{"without an entry", `INSERT INTO policy_changes (n, id, at, body) SELECT 3, 'forged', at, body FROM policy_changes WHERE id = 'c2'`, "no entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
				for i, change := range []attestor.PolicyChange{
					inForce("c1", attestor.PoliciesAtStart, "web=1"), inForce("c2", attestor.PoliciesReloaded, "web=2"),
				} {
					c.set(day.Add(time.Duration(i) * time.Hour))
					if _, err := s.RecordPolicies(t.Context(), change); err != nil {
						t.Fatal(err)
					}
				}

				// A prune after it excuses nothing.
				run(t, s.Writer(), tt.sql)
				if _, err := s.Prune(t.Context(), day.AddDate(1, 0, 0)); err != nil {
					t.Fatal(err)
				}
				_, faults := verified(t, s)
				if len(faults) != 1 || faults[0].Kind != "policies" || !strings.Contains(faults[0].Problem, tt.says) {
					t.Errorf("found %v, want one fault of the policies: %q", faults, tt.says)
				}

				for _, told := range policyChanges(t, s) {
					untouched := told.ID == "c1" || told.ID == "c2" && tt.name == "without an entry"
					if (told.Log.Changed == "") != untouched {
						t.Errorf("%s is told as %+v", told.ID, told)
					}
					if told.Log.Changed != "" && len(told.Policies)+len(told.Changes) > 0 {
						t.Errorf("%s was changed, and is told as %+v", told.ID, told)
					}
				}
			})
		})
	}
}
