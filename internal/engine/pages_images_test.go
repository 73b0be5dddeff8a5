package engine_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/server"
)

// pageWorld is a world with an image that passed and one that was refused for its user.
func pageWorld(t *testing.T) (w *world, good, root string, passed, refused attestor.Decision) {
	t.Helper()
	w = newWorld(t, worldOptions{quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	good = w.push("app/good", "v1", imageOn(t, base, "65532:65532", entry{"app", "1"}))
	w.scan(good, samples.Clean)
	root = w.push("app/root", "v2", imageOn(t, base, "0", entry{"app", "2"}))
	w.scan(root, samples.Clean)
	return w, good, root, w.post(good, false).decision, w.post(root, false).decision
}

// Every filter of the list of images selects by the newest decision, is counted, and stays in the address.
func TestImagesAreListedByTheirNewestDecision(t *testing.T) {
	t.Parallel()
	w, good, root, _, refused := pageWorld(t)
	fix := ""
	for _, r := range refused.Refusals() {
		if r.Code == attestor.CodeUserRoot {
			fix = r.Fix
		}
	}
	owner := strings.TrimSuffix(good[:strings.IndexByte(good, '@')], "/good")

	for _, tt := range []struct {
		query      string
		good, root bool
	}{
		{"", true, true},
		{"newest=pass", true, false},
		{"newest=deny", false, true},
		{"newest=error", false, false},
		{"because=user_root", false, true},
		{"because=NO_POLICY", false, false},
		{"fix=" + url.QueryEscape(fix), false, true},
		{"fix=nothing", false, false},
		{"owner=" + url.QueryEscape(owner), true, true},
		{"owner=payments", false, false},
		{"base=none", false, false},
		{"outdated=true", false, false},
		{"broken=true", false, false},
		{"exception=CVE-1", false, false},
		{"repository=app/good", true, false},
		{"verdict=deny", false, true},
		{"reason=USER_ROOT", false, true},
		{"since=1h&until=2099-01-01", true, true},
		{"until=2001-01-01", false, false},
		{"page=2", false, false},
	} {
		a := w.do(http.MethodGet, "/images?"+tt.query, "")
		body := html.UnescapeString(string(a.body))
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %.300s", tt.query, a.status, body)
			continue
		}
		if has := strings.Contains(body, "/images/"+good+`"`); has != tt.good {
			t.Errorf("%s: the image that passed is there: %t", tt.query, has)
		}
		if has := strings.Contains(body, "/images/"+root+`"`); has != tt.root {
			t.Errorf("%s: the image that was refused is there: %t", tt.query, has)
		}
		count := map[[2]bool]string{{true, true}: "1 to 2 of 2 images", {true, false}: "1 to 1 of 1 image,",
			{false, true}: "1 to 1 of 1 image,", {false, false}: "No image matches"}[[2]bool{tt.good, tt.root}]
		if tt.query == "page=2" {
			count = "There are no more: 2 images in all"
		}
		if !strings.Contains(body, count) {
			t.Errorf("%s: the page does not say %q", tt.query, count)
		}
	}

	for _, query := range []string{"newest=refused", "outdated=yes", "broken=1", "page=0", "page=x", "digest=xyz", "since=yesterday", "nonsense=1"} {
		if a := w.do(http.MethodGet, "/images?"+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", query, a.status)
		}
	}
}

// The page of an image says what stands and what changed; that of a decision leads to it and to all that it names.
func TestImageAndDecisionPagesLeadOn(t *testing.T) {
	t.Parallel()
	w, good, root, passed, refused := pageWorld(t)

	image := html.UnescapeString(string(w.do(http.MethodGet, "/images/"+good, "").body))
	for _, want := range []string{"Passed", "Admitted on", "/decisions/" + passed.ID, "first decision on it"} {
		if !strings.Contains(image, want) {
			t.Errorf("the page of the image that passed lacks %q", want)
		}
	}
	image = html.UnescapeString(string(w.do(http.MethodGet, "/images/"+root, "").body))
	if !strings.Contains(image, "Refused") || !strings.Contains(image, "no admission of this image that stands") ||
		!strings.Contains(image, "/reasons#USER_ROOT") {
		t.Errorf("the page of the image that was refused: %s", image)
	}

	a := w.do(http.MethodGet, "/decisions/"+refused.ID, "")
	page := html.UnescapeString(string(a.body))
	for _, want := range []string{
		`href="/images/` + root + `"`, `href="/reasons#USER_ROOT"`, "Required by line ", "--server http://" + w.address + " --policy-text",
		`data-copy="` + string(refused.Image.Digest) + `"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the decision lacks %q", want)
		}
	}

	// The refusal and its fix come before all that did not refuse.
	if at, then := strings.Index(page, "What refuses it"), strings.Index(page, "The other checks"); at < 0 || then < at {
		t.Errorf("what refuses stands at %d, the other checks at %d", at, then)
	}

	// Every anchor that the page leads to is there.
	for _, m := range regexp.MustCompile(`href="#(L[0-9]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+m[1]+`"`) {
			t.Errorf("the page has no line %s", m[1])
		}
	}
	if reasons := w.do(http.MethodGet, "/reasons", ""); !strings.Contains(string(reasons.body), `id="USER_ROOT"`) {
		t.Error("the page of reasons has no USER_ROOT")
	}

	for path, want := range map[string]int{
		"/images/" + good[:len(good)-1] + "0": http.StatusNotFound, "/images/no/such@sha256:00": http.StatusNotFound,
		"/images/" + strings.Split(good, "@")[0]: http.StatusOK, // the list of its images
		"/revocations/none":                      http.StatusNotFound,
		"/decisions/" + refused.ID + "/proof":    http.StatusNotImplemented, // the log has no key
	} {
		if good[len(good)-1] == '0' && strings.HasPrefix(path, "/images/"+good[:len(good)-1]) {
			continue
		}
		if a := w.do(http.MethodGet, path, ""); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
}

// Whoever may read one repository is shown nothing of another one, on any page and in any number.
func TestPagesShowOnlyWhatTheCallerMayRead(t *testing.T) {
	t.Parallel()
	w, good, root, passed, refused := pageWorld(t)
	handler, err := engine.Pages(w.engine)
	w.ok(err)
	pattern, err := attestor.ParsePattern(strings.Split(good, "@")[0])
	w.ok(err)
	caller := attestor.Caller{Subject: "reader", Issuer: "https://issuer.example", Grants: []attestor.Grant{{
		Actions: []attestor.Action{attestor.ActionRead}, Images: []attestor.Pattern{pattern},
	}}}
	get := func(path string) (int, string) {
		r := httptest.NewRequestWithContext(server.WithCaller(t.Context(), caller), http.MethodGet, path, nil)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		return rec.Code, html.UnescapeString(rec.Body.String())
	}

	for _, path := range scopedPages(refused) {
		status, body := get(path)
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		for _, secret := range []string{refused.ID, "app/root", string(refused.Image.Digest)} {
			// What was typed stays in the form.
			if strings.Contains(path, secret) {
				continue
			}
			if strings.Contains(body, secret) {
				t.Errorf("%s shows %s", path, secret)
			}
		}
	}

	if status, body := get("/images"); status != http.StatusOK || !strings.Contains(body, "of 1 image,") || !strings.Contains(body, good) {
		t.Errorf("/images: %d %s", status, body)
	}

	// A page is kept for a while, and not for a caller who has lost the right meanwhile.
	was := caller.Grants
	caller.Grants = nil
	if _, body := get("/images"); strings.Contains(body, good) {
		t.Error("/images shows an image that the caller may not read any more")
	}
	caller.Grants = was
	for path, want := range map[string]int{
		"/decisions/" + passed.ID: 200, "/images/" + good: 200, "/decisions/" + refused.ID: 404, "/images/" + root: 404,
		"/decisions/" + refused.ID + "/proof": 404,
	} {
		if status, _ := get(path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// scopedPages are the addresses of every page that counts or lists, as somebody would search for a decision.
func scopedPages(d attestor.Decision) []string {
	return []string{
		"/", "/decisions", "/images", "/report", "/decisions?search=USER_ROOT", "/decisions?reason=USER_ROOT",
		"/decisions?search=" + d.ID, "/decisions?digest=" + string(d.Image.Digest), "/images?because=USER_ROOT", "/images?newest=deny",
		"/report?verdict=deny", "/report?format=csv", "/report?format=ndjson",
	}
}
