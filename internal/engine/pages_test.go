package engine_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/samples"
)

// What the list and the report show is what was asked for: every filter of their
// address is heeded, kept by their links, and shown.
func TestPagesHeedTheirFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	good := w.push("app/good", "v1", imageOn(t, base, "65532:65532", entry{"app", "1"}))
	w.scan(good, samples.Clean)
	root := w.push("app/root", "v2", imageOn(t, base, "0", entry{"app", "2"}))
	w.scan(root, samples.Clean)
	w.post(good, false)
	refused := w.post(root, false).decision

	for _, tt := range []struct {
		query      string
		good, root bool
	}{
		{"", true, true},
		{"since=2099-01-01", false, false},
		{"until=2001-01-01", false, false},
		{"since=1h&until=2099-01-01", true, true},
		{"policy=nope", false, false},
		{"verdict=error", false, false},
		{"verdict=pass", true, false},
		{"verdict=deny", false, true},
		{"repository=" + good[:strings.IndexByte(good, '@')], true, false},
		{"repository=app/root", false, true},
		{"repository=good", true, false},
		{"image=" + good, true, false},
		{"digest=" + root[strings.IndexByte(root, '@')+1:][:16], false, true},
		{"id=" + refused.ID, false, true},
		{"reason=USER_ROOT", false, true},
		{"search=app/root", false, true},
		{"search=" + refused.ID, false, true},
		{"override=true", false, false},
		{"revocation=true", false, false},
		{"caller=nobody@example", false, false},
		{"cve=CVE-2026-1", false, false},
		{"package=left-pad", false, false},
		{"tag=v9", false, false},
	} {
		for _, path := range []string{"/decisions", "/report"} {
			a := w.do(http.MethodGet, path+"?"+tt.query, "")
			body := html.UnescapeString(string(a.body))
			if a.status != http.StatusOK {
				t.Errorf("%s?%s: %d %.300s", path, tt.query, a.status, body)
				continue
			}

			// The filters themselves name images too.
			rows := regexp.MustCompile(`(?s)<ul class="key" aria-label="Filters">.*?</ul>|<input[^>]*>|<option[^>]*>`).ReplaceAllString(body, "")
			if has := strings.Contains(rows, "app/good"); has != tt.good {
				t.Errorf("%s?%s: app/good is there: %v", path, tt.query, has)
			}
			if has := strings.Contains(rows, "app/root"); has != tt.root {
				t.Errorf("%s?%s: app/root is there: %v", path, tt.query, has)
			}
			values, err := url.ParseQuery(tt.query)
			w.ok(err)
			for name := range values {
				if !strings.Contains(body, `"`+values.Get(name)+`"`) && !strings.Contains(body, ">"+values.Get(name)+"<") {
					t.Errorf("%s?%s does not show its filter", path, tt.query)
				}
			}
		}
	}

	// What the report counts is what its links open.
	a := w.do(http.MethodGet, "/report?repository=app/root", "")
	link := regexp.MustCompile(`href="(/images\?[^"]*because=USER_ROOT[^"]*)"`).FindStringSubmatch(string(a.body))
	if link == nil {
		t.Fatalf("the report does not open what it counts: %s", a.body)
	}
	list := w.do(http.MethodGet, html.UnescapeString(link[1]), "")
	if list.status != http.StatusOK || !strings.Contains(string(list.body), refused.ID) || !strings.Contains(link[1], "repository=app%2Froot") {
		t.Errorf("%s: %d %s", link[1], list.status, list.body)
	}

	// A code that this version does not know may be in the record: it is looked for, with a remark, everywhere.
	for path, unknown := range map[string]bool{
		"/decisions?reason=USER_ROT": true, "/report?reason=USER_ROT": true, "/images?reason=USER_ROT": true, "/images?because=USER_ROT": true,
		"/v1/decisions?reason=USER_ROT": true, "/decisions?reason=USER_ROOT": false, "/report?reason=USER_ROOT": false,
		"/images?because=USER_ROOT": false, "/v1/decisions?reason=USER_ROOT": false,
	} {
		a := w.do(http.MethodGet, path, "")
		if a.status != http.StatusOK || strings.Contains(string(a.body), "did you mean USER_ROOT?") != unknown {
			t.Errorf("%s: %d, and it asks: %t: %.300s", path, a.status, !unknown, a.body)
		}
	}
	if a := w.do(http.MethodGet, "/images?because=no+code", ""); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "because: ") {
		t.Errorf("%d %s", a.status, a.body)
	}

	// A filter that cannot be is refused, with what was typed still in the form.
	for _, path := range []string{"/decisions", "/report"} {
		a := w.do(http.MethodGet, path+"?digest=xyz", "")
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "digest: ") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}
