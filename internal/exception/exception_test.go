package exception_test

import (
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

func pattern(t *testing.T, text string) attestor.Pattern {
	t.Helper()
	p, err := attestor.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}

	return p
}

func TestFits(t *testing.T) {
	const user = attestor.CheckUser
	root := exception.Finding{Check: user, Code: attestor.CodeUserRoot, Subject: "0", Package: "passwd"}

	for _, tt := range []struct {
		name string
		e    exception.Exception
		f    exception.Finding
		want bool
	}{
		{"anything that the check found", exception.Exception{Check: user, Subject: exception.Any}, root, true},
		{"the reason's code", exception.Exception{Check: user, Subject: "USER_ROOT"}, root, true},
		{"the finding's subject", exception.Exception{Check: user, Subject: "0"}, root, true},
		{"its package", exception.Exception{Check: user, Subject: "0", Packages: []string{"shadow", "passwd"}}, root, true},
		{"a rule's finding without code", exception.Exception{Check: "CMEK", Subject: "disk"}, exception.Finding{Check: "CMEK", Subject: "disk"}, true},
		{"a rule's subject that is called like a code", exception.Exception{Check: "SECRETS", Subject: "USER_ROOT"},
			exception.Finding{Check: "SECRETS", Subject: "USER_ROOT"}, true},

		{"another check", exception.Exception{Check: attestor.CheckBase, Subject: exception.Any}, root, false},
		{"no check", exception.Exception{Subject: exception.Any}, root, false},
		{"another code", exception.Exception{Check: user, Subject: "GROUP_ROOT"}, root, false},
		{"another subject", exception.Exception{Check: user, Subject: "1"}, root, false},
		{"no subject", exception.Exception{Check: user}, root, false},
		{"another package", exception.Exception{Check: user, Subject: "0", Packages: []string{"shadow"}}, root, false},
		{"a user who is called like another reason", exception.Exception{Check: user, Subject: "USER_NOT_NUMERIC"},
			exception.Finding{Check: user, Code: attestor.CodeUserRoot, Subject: "USER_NOT_NUMERIC"}, false},
		{"a rule's other subject", exception.Exception{Check: "CMEK", Subject: "disk"}, exception.Finding{Check: "CMEK", Subject: "bucket"}, false},
		{"the zero exception", exception.Exception{}, root, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.e.Fits(tt.f); got != tt.want {
				t.Errorf("fits: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	image := exception.Target{Repository: "registry.example/acme/api", Platform: "linux/arm64"}
	service := exception.Target{Service: "api", FullName: "acme/us-east1/api"}

	for _, tt := range []struct {
		name string
		e    exception.Exception
		t    exception.Target
		want bool
	}{
		{"every image", exception.Exception{}, image, true},
		{"its repository", exception.Exception{Images: []attestor.Pattern{pattern(t, "registry.example/acme/*")}}, image, true},
		{"its platform, spelt otherwise", exception.Exception{Platforms: []string{"linux/arm64/v8"}}, image, true},
		{"a service by name", exception.Exception{Services: []string{"web", "a*"}}, service, true},
		{"a service by full name", exception.Exception{Services: []string{"acme/*/api"}}, service, true},

		{"another repository", exception.Exception{Images: []attestor.Pattern{pattern(t, "registry.example/other/*")}}, image, false},
		{"another platform", exception.Exception{Platforms: []string{"linux/amd64"}}, image, false},
		{"another service", exception.Exception{Services: []string{"web"}}, service, false},
		{"another project", exception.Exception{Services: []string{"other/*/api"}}, service, false},
		{"a name where the pattern has a project", exception.Exception{Services: []string{"acme/api"}}, service, false},
		{"a pattern that is malformed", exception.Exception{Services: []string{"[a"}}, service, false},
		{"images, for a service", exception.Exception{Images: []attestor.Pattern{pattern(t, "registry.example/acme/*")}}, service, false},
		{"services, for an image", exception.Exception{Services: []string{"api"}}, image, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.e.Covers(tt.t); got != tt.want {
				t.Errorf("covers: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestEnded: an exception holds through its last day, and no longer.
func TestEnded(t *testing.T) {
	e := exception.Exception{ID: "W-1", Owner: "team-a", Reason: "legacy", Expires: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)}
	for at, want := range map[time.Time]bool{
		time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC):                false,
		time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.UTC):     false,
		time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC):                  true,
		time.Date(2027, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)): false,
	} {
		if got := e.Ended(at); got != want {
			t.Errorf("at %s: ended %v, want %v", at, got, want)
		}
	}

	if !(&exception.Exception{}).Ended(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Error("an exception without an end is in force")
	}

	want := attestor.AppliedException{ID: "W-1", Owner: "team-a", Reason: "legacy", Expires: "2026-12-31", Subject: "0", Expired: true}
	if got := e.Applied("0", true); got != want {
		t.Errorf("applied: %+v, want %+v", got, want)
	}
}

func TestAbout(t *testing.T) {
	list := exception.List{
		{Check: "base", Subject: exception.Any},
		{Check: "user", Subject: exception.Any},
		{Check: "user", Subject: "0", Platforms: []string{"linux/amd64"}},
		{Check: "user", Subject: "USER_ROOT"},
	}

	var got []int
	for i := range list.About(exception.Finding{Check: "user", Code: attestor.CodeUserRoot, Subject: "0"}, exception.Target{Platform: "linux/arm64"}) {
		got = append(got, i)
	}

	if want := []int{1, 3}; !slices.Equal(got, want) {
		t.Errorf("about the finding: %v, want %v", got, want)
	}
}
