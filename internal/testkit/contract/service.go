package contract

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// Authenticator is the suite of server.Authenticator and identity.Verifier.
// known makes a request whose sender is subject; each of the others is refused.
func Authenticator(t *testing.T, a interface {
	Authenticate(r *http.Request) (attestor.Caller, error)
}, subject string, known func(t *testing.T) *http.Request, refused map[string]func(t *testing.T) *http.Request) {
	caller, err := a.Authenticate(known(t))
	if err != nil || caller.Subject != subject {
		t.Errorf("the known sender: %q, %v; want %q", caller.Subject, err, subject)
	}

	for name, request := range refused {
		caller, err := a.Authenticate(request(t))
		kind := attestor.KindOf(err)
		if err == nil || (kind != attestor.Unauthenticated && kind != attestor.Forbidden) {
			t.Errorf("%s: %+v, error %v of kind %v", name, caller, err, kind)
		}

		// Whoever forgets to look at the error finds somebody with no rights.
		if caller.Subject != "" || len(caller.Grants) != 0 {
			t.Errorf("%s: refused, and yet %+v", name, caller)
		}
	}

	var wg sync.WaitGroup
	for range 20 {
		r := known(t)
		wg.Go(func() {
			if caller, err := a.Authenticate(r); err != nil || caller.Subject != subject {
				t.Errorf("asked concurrently: %q, %v", caller.Subject, err)
			}
		})
	}
	wg.Wait()
}

// An OccurrenceLookup is what watch.Occurrences answers, field by field.
type OccurrenceLookup func(ctx context.Context, name string) (img attestor.Image, finished bool, err error)

// Occurrences is the suite of watch.Occurrences. finished and running are names
// of discoveries of scanned, foreign is of something that is no image, and
// unknown is nobody's; "" where the implementation cannot have one.
func Occurrences(t *testing.T, look OccurrenceLookup, scanned attestor.Image, finished, running, foreign,
	unknown string) {
	for name, want := range map[string]struct {
		img      attestor.Image
		finished bool
	}{finished: {scanned, true}, running: {scanned, false}} {
		img, done, err := look(t.Context(), name)
		if err != nil || img != want.img || done != want.finished {
			t.Errorf("%s: %v, finished %t, %v; want %s, %t", name, img, done, err, want.img, want.finished)
		}
	}

	if img, _, err := look(t.Context(), foreign); err != nil || !img.IsZero() {
		t.Errorf("of no image: %v, %v; want the zero image", img, err)
	}
	img, done, err := look(t.Context(), unknown)
	wantKind(t, "an unknown occurrence", err, attestor.NotFound)
	if !img.IsZero() || done {
		t.Errorf("of an unknown occurrence: %v, finished %t", img, done)
	}

	if _, _, err := look(gone(t), finished); err == nil || attestor.KindOf(err) == attestor.NotFound {
		t.Errorf("asked with an ended context: %v", err)
	}
}

// A Published is a message as its reader gets it.
type Published struct {
	Data       string
	Attributes map[string]string
}

// Publisher is the suite of watch.Publisher. received waits for n messages.
func Publisher(t *testing.T, p interface {
	Publish(ctx context.Context, data []byte, attributes map[string]string) error
}, received func(t *testing.T, n int) []Published) {
	want := map[string]map[string]string{
		`{"image":"a"}`: {"attestor.rejudge": "1"},
		"\x00\xff":      {"a": "1", "b": "é"},
		"plain":         nil,
	}

	var wg sync.WaitGroup
	for data, attributes := range want {
		wg.Go(func() {
			if err := p.Publish(t.Context(), []byte(data), attributes); err != nil {
				t.Errorf("Publish(%q): %v", data, err)
			}
		})
	}

	wg.Wait()

	// What Publish returned nil for is there, once and unchanged.
	got := received(t, len(want))
	slices.SortFunc(got, func(a, b Published) int { return len(a.Data) - len(b.Data) })
	seen := map[string]bool{}
	for _, m := range got {
		attributes, ok := want[m.Data]
		if !ok || seen[m.Data] || !maps.Equal(m.Attributes, attributes) {
			t.Errorf("received %q with %v", m.Data, m.Attributes)
		}
		seen[m.Data] = true
	}

	if len(seen) != len(want) {
		t.Errorf("%d of %d messages were received", len(seen), len(want))
	}

	if err := p.Publish(gone(t), []byte("late"), nil); err == nil {
		t.Error("Publish with an ended context reports that the message is durable")
	}
}

// A Simulated is what server.Simulation says, as far as it is promised.
type Simulated struct {
	Judged        int
	Before, After map[attestor.Outcome]int
	Flips         []string // decisions, newest first
}

// Simulator is the suite of server.Simulator over a record of n decisions, made
// a minute apart from first on, all of Repository. good loads.
func Simulator(t *testing.T, n int, first time.Time, good string,
	simulate func(ctx context.Context, policy []byte, since time.Time, visible func(string) bool) (Simulated, error)) {
	total := func(counts map[attestor.Outcome]int) (sum int) {
		for _, c := range counts {
			sum += c
		}
		return sum
	}

	for _, tt := range []struct {
		name    string
		since   time.Time
		visible func(string) bool
		want    int
	}{
		{"all", first, everybody, n},
		{"since, inclusive", first.Add(time.Minute), everybody, n - 1},
		{"of nothing that may be seen", first, func(string) bool { return false }, 0},
		{"since the last one", first.Add(time.Duration(n) * time.Minute), everybody, 0},
	} {
		s, err := simulate(t.Context(), []byte(good), tt.since, tt.visible)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}

		if s.Judged != tt.want || total(s.Before) != tt.want || total(s.After) != tt.want || len(s.Flips) > tt.want {
			t.Errorf("%s: %+v, want %d judged", tt.name, s, tt.want)
		}
		if !slices.IsSortedFunc(s.Flips, func(a, b string) int { return cmp.Compare(b, a) }) {
			t.Errorf("%s: the flips %v are not newest first", tt.name, s.Flips)
		}
	}

	for _, bad := range []string{"", "nonsense", "apiVersion: attestor/v0\n"} {
		_, err := simulate(t.Context(), []byte(bad), first, everybody)
		wantKind(t, "the policy "+bad, err, attestor.Invalid)
	}
	if s, err := simulate(gone(t), []byte(good), first, everybody); err == nil && s.Judged < n {
		t.Errorf("asked with an ended context, %d of %d are all that there are", s.Judged, n)
	}
}

// Revoking is what server.Attestations offers.
type Revoking struct {
	Pin      func(ctx context.Context, ref attestor.Reference) (attestor.Image, error)
	Standing func(ctx context.Context, img attestor.Image) (attestor.Standing, error)
	Revoke   func(ctx context.Context, img attestor.Image, reason string) ([]attestor.Attestation, error)
}

// Attestations is the suite of server.Attestations. attested has one attestation
// or more, and so has other.
func Attestations(t *testing.T, a Revoking, attested, other, unattested attestor.Image) {
	Standings(t, standingFunc(a.Standing), attested, unattested)
	Standings(t, standingFunc(a.Standing), other, unattested)
	before, err := a.Standing(t.Context(), attested)
	if err != nil {
		t.Fatal(err)
	}
	pins(t, a.Pin, attested)

	revoked, err := a.Revoke(t.Context(), attested, "found to be malicious")
	if err != nil || len(revoked) != len(before.Valid) {
		t.Errorf("Revoke: %d attestations, %v; %d stood", len(revoked), err, len(before.Valid))
	}
	for _, g := range revoked {
		if g.Digest != attested.Digest() || g.Occurrence == "" {
			t.Errorf("revoked %+v of %s", g, attested)
		}
	}

	if s, err := a.Standing(t.Context(), attested); err != nil || !s.Known || len(s.Valid) != 0 {
		t.Errorf("after the revocation stands %+v, %v", s.Valid, err)
	}

	// A repeat and an image without attestations have nothing to revoke, and a
	// revocation is of one image.
	for _, img := range []attestor.Image{attested, unattested} {
		if again, err := a.Revoke(t.Context(), img, "found to be malicious"); err != nil || len(again) != 0 {
			t.Errorf("Revoke where nothing stands: %+v, %v", again, err)
		}
	}

	if s, err := a.Standing(t.Context(), other); err != nil || len(s.Valid) == 0 {
		t.Errorf("of the other image stands %+v, %v", s, err)
	}
}

// pins checks that a digest names itself, and that an unknown tag names nothing.
func pins(t *testing.T, pin func(context.Context, attestor.Reference) (attestor.Image, error), img attestor.Image) {
	for text, want := range map[string]attestor.Image{img.String(): img, img.Repository() + ":no-such-tag": {}} {
		ref, err := attestor.ParseReference(text)
		if err != nil {
			t.Fatal(err)
		}

		got, err := pin(t.Context(), ref)
		if got != want {
			t.Errorf("Pin(%s) = %s, want %s", text, got, want)
		}
		if want.IsZero() {
			wantKind(t, "Pin("+text+")", err, attestor.NotFound)
		} else if err != nil {
			t.Errorf("Pin(%s): %v", text, err)
		}
	}
}

type standingFunc func(ctx context.Context, img attestor.Image) (attestor.Standing, error)

func (f standingFunc) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	return f(ctx, img)
}

// Posture is the suite of server.Posture. judge returns the verdict and how many
// findings there are; good is a definition.
func Posture(t *testing.T, good string, judge func(ctx context.Context, document []byte) (attestor.Outcome, int,
	error)) {
	verdict, findings, err := judge(t.Context(), []byte(good))
	if err != nil || findings == 0 {
		t.Errorf("the definition: %s, %d findings, %v", verdict, findings, err)
	}
	again, same, err := judge(t.Context(), []byte(good))
	if err != nil || again != verdict || same != findings {
		t.Errorf("the same definition again: %s, %d findings, %v", again, same, err)
	}

	for _, bad := range []string{"", "nonsense", "{", "apiVersion: v1\nkind: Pod\n"} {
		verdict, findings, err := judge(t.Context(), []byte(bad))
		wantKind(t, "the document "+bad, err, attestor.Invalid)
		if verdict == attestor.Pass || findings != 0 {
			t.Errorf("the document %q: %s, %d findings", bad, verdict, findings)
		}
	}
}

// PolicyList is the suite of server.Policies: refs are what All lists, in order,
// and texts their sources.
func PolicyList(t *testing.T, all func() (refs []attestor.PolicyRef, images [][]string, texts []string)) {
	refs, images, texts := all()
	if len(refs) == 0 {
		t.Fatal("no policy is in force: this suite would prove nothing")
	}
	if !slices.IsSortedFunc(refs, func(a, b attestor.PolicyRef) int { return cmp.Compare(a.Name, b.Name) }) {
		t.Errorf("the policies are not ordered by name: %+v", refs)
	}

	for i, ref := range refs {
		if _, err := attestor.ParseDigest(string(ref.Digest)); err != nil || ref.Name == "" || len(images[i]) == 0 ||
			texts[i] == "" {
			t.Errorf("%+v governs %v by %q (%v)", ref, images[i], texts[i], err)
		}
		for _, pattern := range images[i] {
			if _, err := attestor.ParsePattern(pattern); err != nil {
				t.Errorf("%s governs %q: %v", ref.Name, pattern, err)
			}
		}
	}

	// What a caller does to the list is its own affair.
	images[0][0] = "changed"
	if _, again, _ := all(); again[0][0] == "changed" {
		t.Error("the list is the implementation's own")
	}
}
