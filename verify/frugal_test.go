package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// gets counts the requests for a path.
func gets(f *front, path string) (n int) {
	for _, r := range f.requests() {
		if r == "GET "+path {
			n++
		}
	}
	return n
}

func manifestPath(repo string, d attestor.Digest) string {
	return "/v2/" + repo + "/manifests/" + string(d)
}

func blobPath(repo string, l rawLayer) string { return "/v2/" + repo + "/blobs/" + string(sum(l.Blob)) }

// An image on a base that its tag is known to name waits for no look-up, however long ago the last one was. One on a base
// that the tag has left does, since the tag may have gone back.
func TestOnlyDoubtCausesALookUp(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = clock.Now })
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = oneDay })
	pushRaw(t, host, "app", "a", rawImage{Layers: layersOf("a", "x")})

	look := func(name string, current bool, looks int) {
		t.Helper()
		f.set(nil)
		b := inspectOne(t, i, host+"/app:a", needs).Base
		if b.Current != current || tagLooks(f) != looks {
			t.Errorf("%s: base = %+v after %d look-ups, want current: %t after %d", name, b, tagLooks(f), current, looks)
		}
	}
	names := func(layer string, after time.Duration) {
		t.Helper()
		pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(layer)})
		clock.set(clock.Now().Add(after))
	}

	names("a", 0)
	look("the first image", true, 1)
	names("a", 10*time.Minute)
	look("a base that is known to be current", true, 0)
	names("b", 0)
	if err := i.RefreshBases(t.Context(), needs.Bases); err != nil {
		t.Fatal(err)
	}
	look("a base that was just superseded", false, 0)
	names("a", 2*time.Minute)
	look("a base that the tag has gone back to", true, 1)
}

// The age of a base that nobody saw is known by its registry's record: where that lets it count, no tag is looked up again.
// Where it does not, the tags are, and the record still says why it is denied.
func TestAgeByTheRecordOfTheRegistry(t *testing.T) {
	old := sumManifest(rawImage{Layers: layersOf("old")})
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		age   time.Duration
		looks int
	}{
		"young": {3 * oneDay, 0},
		"old":   {30 * oneDay, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x"),
				Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})
			uploads := &uploadTimes{at: map[string]time.Time{host + "/base@" + string(old): now.Add(-tt.age)}}
			i := newInspector(t, host, func(c *config) {
				c.Signatures, c.Uploads, c.Now = &signer{signed: map[attestor.Digest]bool{old: true}}, uploads, clockAt(now).Now
			})
			needs := basesOf(host, func(ab *attestor.ApprovedBase) {
				ab.SignedBy, ab.MaxBehind = &attestor.SignedBy{Key: "/k.pub"}, 14*oneDay
			})

			for n := range 2 {
				f.set(nil)
				b := inspectOne(t, i, host+"/app:1", needs).Base
				if b.Digest != old || b.Superseded == nil || !b.Superseded.Equal(now.Add(-tt.age)) || b.AgeUnknown != "" {
					t.Errorf("base = %+v, want one of %s", b, now.Add(-tt.age))
				}
				if n > 0 && tagLooks(f) != tt.looks {
					t.Errorf("the tag was looked up %d times, want %d", tagLooks(f), tt.looks)
				}
			}
			if uploads.asked.Load() != 1 {
				t.Errorf("the record was asked %d times, want once", uploads.asked.Load())
			}
		})
	}
}

// Why the age of one base is not known says nothing of another one, which the tag names by now.
func TestAgeOfAnotherBase(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	newest := sumManifest(rawImage{Layers: layersOf("old", "y")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "y", "x"),
		Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})
	i := newInspector(t, host, func(c *config) {
		c.Signatures = &signer{signed: map[attestor.Digest]bool{old: true, newest: true}}
	})
	needs := basesOf(host, func(ab *attestor.ApprovedBase) {
		ab.SignedBy, ab.MaxBehind = &attestor.SignedBy{Key: "/k.pub"}, 14*oneDay
	})

	if b := inspectOne(t, i, host+"/app:1", needs).Base; b.Digest != old || b.AgeUnknown == "" {
		t.Errorf("base = %+v, want the one that is named, of unknown age", b)
	}
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old", "y")})
	if b := inspectOne(t, i, host+"/app:1", needs).Base; b.Digest != newest || !b.Current || b.AgeUnknown != "" {
		t.Errorf("base = %+v, want %s, which is current", b, newest)
	}
}

// What tags named before is read to explain a denial, once, and for no other image.
func TestThePastIsReadForDenialsOnly(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	current := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("current")})
	pushRaw(t, host, "app", "good", rawImage{Layers: layersOf("current", "x")})
	pushRaw(t, host, "app", "bad", rawImage{Layers: layersOf("elsewhere", "x")})

	// Sixty stretches of an hour, of which the last one goes on. None of the digests is there any more but the last one.
	store := &history{}
	var past []attestor.Digest
	for n := range 60 {
		d, from := attestor.DigestOf(fmt.Append(nil, n)), now.Add(time.Duration(n-60)*time.Hour)
		p := attestor.TagPoint{Repository: host + "/base", Tag: "1", Digest: d, From: from, Until: new(from.Add(time.Hour))}
		if n == 59 {
			p.Digest, p.Until = current, nil
		} else {
			past = append(past, d)
		}
		store.points = append(store.points, p)
	}
	i := newInspector(t, host, func(c *config) { c.Now, c.History = clockAt(now).Now, store })
	needs := basesOf(host, nil)

	for n, tt := range []struct {
		tag  string
		read int
	}{
		{"good", 0},
		{"bad", 49}, // with what is current, the fifty newest
		{"bad", 0},
		{"good", 0},
	} {
		f.set(nil)
		ev := inspectOne(t, i, host+"/app:"+tt.tag, needs)
		wantCodes(t, ev.Problems)
		read := 0
		for _, d := range past {
			read += gets(f, manifestPath("base", d))
		}
		if read != tt.read || gets(f, manifestPath("base", past[9])) != 0 || (ev.Base.Evidence != "") != (tt.tag == "good") {
			t.Errorf("%d: %s: %d of the past were read, want %d; base = %+v", n, tt.tag, read, tt.read, ev.Base)
		}
	}
}

// Layers that are the base's by digest need no proof.
func TestOnlyOtherLayersAreProven(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	a, b, c := layer("a"), layer("b"), layer("c")
	again := b.Recompressed("b")
	pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a, b}})
	pushRaw(t, host, "app", "1", rawImage{Layers: []rawLayer{a, again, c}})

	f.set(nil)
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
	if ev.Base.Evidence != attestor.DiffIDsVerified || ev.Base.Layers != 2 {
		t.Errorf("base = %+v", ev.Base)
	}
	for _, tt := range []struct {
		layer rawLayer
		want  int
	}{{a, 0}, {again, 1}, {c, 0}} {
		if got := gets(f, blobPath("app", tt.layer)); got != tt.want {
			t.Errorf("layer %s was read %d times, want %d", sum(tt.layer.Blob), got, tt.want)
		}
	}
}

// Unsigned provenance is read for an image whose layers say nothing, and for no other one.
func TestHintsAreReadWhereLayersSayNothing(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("base")})
	statement := corpus.Attestation(corpus.InToto)
	m, _ := statement.Bytes()
	for tag, lowest := range map[string]string{"on": "base", "off": "squashed"} {
		app := rawImage{Layers: layersOf(lowest, "x")}
		pushRaw(t, host, "app", "child", app)
		pushRaw(t, host, "app", "statement", statement)
		pushIndex(t, host, "app", tag, app.Entry(), corpus.AttestationEntry(app.Digest(), m))
	}

	for tag, want := range map[string]int{"on": 0, "off": 1} {
		f.set(nil)
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:"+tag, basesOf(host, nil))
		wantCodes(t, ev.Problems)
		if got := gets(f, blobPath("app", statement.Layers[0])); got != want {
			t.Errorf("%s: the statement was read %d times, want %d; base = %+v", tag, got, want, ev.Base)
		}
	}
}

// What a tag names was just looked up for one policy, and is not looked up for another one.
func TestATagIsLookedUpForAllPolicies(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = clock.Now })
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	lists := func(layer string) []attestor.ApprovedBase { // an entry that nobody asked about
		d := pushRaw(t, host, "base", "other", rawImage{Layers: layersOf(layer)})
		return basesOf(host, func(ab *attestor.ApprovedBase) { ab.Digests = []attestor.Digest{d} }).Bases
	}

	for _, tt := range []struct {
		layer string
		after time.Duration
		looks int
	}{{"b", 0, 1}, {"c", 0, 0}, {"d", 5*time.Second - 1, 0}, {"e", 1, 1}, {"f", 0, 0}} {
		bases := lists(tt.layer)
		clock.set(clock.Now().Add(tt.after))
		f.set(nil)
		if problems := verify.Ensure(t.Context(), i, bases, "linux/amd64"); len(problems) > 0 || tagLooks(f) != tt.looks {
			t.Errorf("%s: %d look-ups, want %d; %+v", tt.layer, tagLooks(f), tt.looks, problems)
		}
	}
}

// An entry whose bases are all known and whose tags were looked up lately is left alone; each of what may be missing is
// looked up.
func TestWhatIsDue(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = clock.Now })
	listed := pushRaw(t, host, "base", "listed", rawImage{Layers: layersOf("listed")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "base", "2", rawImage{Layers: layersOf("b")})
	bases := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = []string{"1", "2"}, []attestor.Digest{listed} }).Bases
	ensure := func(name string, after time.Duration, requests ...string) {
		t.Helper()
		clock.set(clock.Now().Add(after))
		f.set(nil)
		if problems := verify.Ensure(t.Context(), i, bases, "linux/amd64"); len(problems) > 0 {
			t.Errorf("%s: %+v", name, problems)
		}
		var got []string
		for _, r := range f.requests() {
			if strings.Contains(r, "/manifests/") {
				got = append(got, strings.TrimPrefix(r, "GET /v2/base/manifests/"))
			}
		}
		if len(got) != len(requests) {
			t.Errorf("%s: %q, want %q", name, got, requests)
		}
	}

	ensure("nothing is known", 0, "1", "2", string(listed))
	ensure("all is known", time.Minute)
	ensure("the tags are old", time.Nanosecond, "1", "2")

	// One tag of two is looked up for another entry.
	clock.set(clock.Now().Add(time.Hour))
	other := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags = []string{"2"} }).Bases
	if err := i.RefreshBases(context.Background(), other); err != nil {
		t.Fatal(err)
	}
	ensure("one tag is old", 10*time.Second, "1", "2")
}

// A registry's failure to give one of several bases refuses no image that is built on another one.
func TestOneBaseOfSeveralIsDown(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "on", rawImage{Layers: layersOf("a", "x")})
	pushRaw(t, host, "app", "off", rawImage{Layers: layersOf("b", "x")})
	needs := basesOf(host, nil)
	down := attestor.ApprovedBase{Name: "down", Repository: host + "/down", Tags: []string{"1"}}
	needs.Bases = append(needs.Bases, down)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r, "down") {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})

	i := newInspector(t, host, nil)
	wantCodes(t, inspectOne(t, i, host+"/app:on", needs).Problems)
	ev := inspectOne(t, i, host+"/app:off", needs)
	wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
	if ev.Problems[0].Subject != "down" {
		t.Errorf("problem = %+v, want one of the base that is down", ev.Problems[0])
	}
	if err := i.RefreshBases(t.Context(), needs.Bases); err == nil || !strings.Contains(err.Error(), "down") || strings.Contains(err.Error(), "debian") {
		t.Errorf("RefreshBases = %v", err)
	}
}

// The pause after failures grows from none to five seconds, and stays there.
func TestPauses(t *testing.T) {
	for failed, want := range map[int]time.Duration{
		0: 5 * time.Second, 1: 0, 2: 250 * time.Millisecond, 3: 500 * time.Millisecond, 4: time.Second, 5: 2 * time.Second,
		6: 4 * time.Second, 7: 5 * time.Second, 12: 5 * time.Second, 40: 5 * time.Second, 1_000: 5 * time.Second,
	} {
		if got := verify.Pause(failed); got != want {
			t.Errorf("after %d failures: %s, want %s", failed, got, want)
		}
	}
}
