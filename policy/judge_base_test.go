package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// maxBehind 0d allows the current base only. A base that was superseded in the
// very second of the evidence, or after it by another machine's clock, is not
// current, whatever its age comes to.
func TestNoTimeBehindIsAllowed(t *testing.T) {
	superseded := func(after time.Duration) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Base.Current, e.Base.Superseded = false, new(today().Add(after))
		})
	}

	for _, tt := range []struct {
		name, maxBehind string
		change          func(*attestor.Evidence)
		want            attestor.Outcome
	}{
		{"current", "0d", func(*attestor.Evidence) {}, attestor.Pass},
		{"superseded a minute ago", "0d", superseded(-time.Minute), attestor.Deny},
		{"superseded now", "0d", superseded(0), attestor.Deny},
		{"superseded in a minute", "0d", superseded(time.Minute), attestor.Deny},
		{"superseded now, a day is allowed", "1d", superseded(0), attestor.Pass},
		{"superseded a day ago, a day is allowed", "1d", superseded(-24 * time.Hour), attestor.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := one(t, strings.Replace(strict, "maxBehind: 14d", "maxBehind: "+tt.maxBehind, 1))
			v := p.Judge(passing(p, tt.change))

			var want []attestor.Code
			if tt.want == attestor.Deny {
				want = []attestor.Code{attestor.CodeBaseOutdated}
			}
			if got := refusals(v); v.Outcome() != tt.want || len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
				t.Errorf("%s %v, want %s %v", v.Outcome(), got, tt.want, want)
			}
		})
	}
}
