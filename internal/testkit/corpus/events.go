package corpus

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Push is the body of a Pub/Sub push, as Pub/Sub sends it.
func Push(id, data string, attributes map[string]string) string {
	b, err := json.Marshal(map[string]any{
		"message": map[string]any{
			"data": []byte(data), "attributes": attributes, "messageId": id, "message_id": id,
			"publishTime": "2026-03-01T12:00:00.1Z", "publish_time": "2026-03-01T12:00:00.1Z",
		},
		"subscription": "projects/acme/subscriptions/gate", "deliveryAttempt": 1,
	})
	check(err)
	return string(b)
}

// Built are the attributes of Cloud Build's messages.
func Built(status string) map[string]string {
	return map[string]string{"buildId": "6f2b8a3e", "status": status}
}

// events are messages, after each of which the record is searched for what
// came of it. $IMAGE stands for a good image by digest, $BAD for one that is
// refused, $REF for the good one by tag.
func events() []Case {
	var out []Case
	arrange := func(p *Place) {
		p.Push(p.Good())
		bad := p.Good()
		bad.ConfigExtra = `"config":{}`
		p.PushTo(p.Repo, "bad", bad)
	}

	const nothingCame = `"decisions":[]`
	for _, e := range []struct {
		name, data string
		attributes map[string]string
		status     int
		says       string
		about      string // where what came of it is looked for; "": the case's repository
		mends      string
	}{
		{"a push of a good image", `{"action":"INSERT","digest":"$IMAGE","tag":"$REF"}`, nil, 204, `"verdict":"pass"`,
			"", "events/a push by tag"},
		{"a build of a good image", `{"status":"SUCCESS","results":{"images":[{"name":"$REF","digest":"$DIGEST"}]}}`,
			Built("SUCCESS"), 204, `"verdict":"pass"`, "", "events/a build that failed"},
		{"a build of 100 images", `{"status":"SUCCESS","results":{"images":[` + strings.Repeat(
			`{"name":"$REF","digest":"$DIGEST"},`, 99) + `{"name":"$REF","digest":"$DIGEST"}]}}`,
			Built("SUCCESS"), 204, `"verdict":"pass"`, "", "events/a build of 101 images"},
		{"a push of an image that is refused", `{"action":"INSERT","digest":"$BAD"}`, nil, 204,
			`"verdict":"deny"`, "", ""},
		{"a build of an image that is refused", `{"status":"SUCCESS","results":{"images":[{"name":"$BADREF",` +
			`"digest":"$BADDIGEST"}]}}`, Built("SUCCESS"), 204, `"verdict":"deny"`, "", ""},
		{"a build whose attributes lie", `{"status":"WORKING","results":{"images":[{"name":"$REF",` +
			`"digest":"$DIGEST"}]}}`, Built("SUCCESS"), 204, nothingCame, "", ""},
		{"a build that failed", `{"status":"FAILURE","results":{"images":[{"name":"$REF","digest":"$DIGEST"}]}}`,
			Built("FAILURE"), 204, nothingCame, "", ""},
		{"a build's image without a digest", `{"status":"SUCCESS","results":{"images":[{"name":"$REF"}]}}`,
			Built("SUCCESS"), 204, nothingCame, "", ""},
		{"a build of 101 images",
			`{"status":"SUCCESS","results":{"images":[` + strings.Repeat(`{"name":"$REF","digest":"$DIGEST"},`,
				100) + `{"name":"$REF","digest":"$DIGEST"}]}}`, Built("SUCCESS"), 204, nothingCame, "", ""},
		{"a push of another registry's image", `{"action":"INSERT","digest":"gcr.io/other/pushed@` + string(
			Sum(nil)) + `"}`, nil, 204, nothingCame, "gcr.io/other/pushed", ""},
		{"a push at a private address", `{"action":"INSERT","digest":"169.254.169.254/corpus/pushed@` + string(
			Sum(nil)) + `"}`, nil, 204, nothingCame, "169.254.169.254/corpus/pushed", ""},
		{"a push of an image that is gone", `{"action":"INSERT","digest":"$GONE"}`, nil, 204, nothingCame, "", ""},
		{"a push of an image under a signature's tag", `{"action":"INSERT","digest":"$IMAGE","tag":"$REPO:sha256-` +
			Sum(nil).Hex() + `.sig"}`, nil, 204, `"verdict":"pass"`, "", ""},
		{"a push by tag", `{"action":"INSERT","digest":"$REF"}`, nil, 204, nothingCame, "", ""},
		{"a push with a scheme", `{"action":"INSERT","digest":"https://$IMAGE"}`, nil, 204, nothingCame, "", ""},
		{"a deletion", `{"action":"DELETE","digest":"$IMAGE"}`, nil, 204, nothingCame, "", ""},
		{"names in another case", `{"Action":"INSERT","Digest":"$IMAGE"}`, nil, 204, nothingCame, "", ""},
		{"the same name twice", `{"action":"INSERT","digest":"gcr.io/x/y@` + string(Sum(nil)) + `","digest":"$IMAGE"}`,
			nil, 204, nothingCame, "", ""},
		{"an occurrence that is not there", `{"name":"projects/dev/occurrences/none","kind":"VULNERABILITY"}`, nil, 204,
			nothingCame, "", ""},
		{"an occurrence whose name is a path", `{"name":"projects/../occurrences/x","kind":"DISCOVERY"}`, nil, 204,
			nothingCame, "", ""},
		{"not JSON", "hello", nil, 204, nothingCame, "", ""},
		{"nothing that is known", `{"hello":"world"}`, nil, 204, nothingCame, "", ""},
		{"very deep", strings.Repeat("[", 100_000), nil, 204, nothingCame, "", ""},
		{"the gate's own, made up", `[]`, map[string]string{"attestor.rejudge": "1"}, 204, nothingCame, "", ""},
		{"the gate's own, about no decision", `{"image":"$IMAGE","decision":"none"}`,
			map[string]string{"attestor.rejudge": "1"}, 204, nothingCame, "", ""},
	} {
		out = append(out, Case{Name: "events/" + e.name, Mends: e.mends, Want: refused(http.StatusOK, e.says),
			Arrange: arrange, Send: func(p *Place) []Request {
				d := p.Subjects()
				data := strings.NewReplacer("$IMAGE", p.Ref(string(d[0])), "$BADREF", p.Ref("bad"), "$BADDIGEST",
					string(d[1]), "$BAD", p.Ref(string(d[1])),
					"$REF", p.Ref("1"), "$REPO", p.Host+"/"+p.Repo, "$DIGEST", string(d[0]), "$GONE",
					p.Ref(string(Sum([]byte("gone"))))).Replace(e.data)
				push := Post("/v1/events", Push(p.Name, data, e.attributes))
				push.Status = e.status
				about := e.about
				if about == "" {
					about = p.Host + "/" + p.Repo
				}
				return []Request{push, Get("/v1/decisions?repository=" + url.QueryEscape(about))}
			}})
	}

	const noID, noPush = "the push message has no id", "not a Pub/Sub push message"
	for _, e := range []struct{ name, body, says string }{
		{"without a message", `{}`, noID},
		{"without an id", `{"message":{}}`, noID},
		{"with an id of two words", `{"message":{"messageId":"a b"}}`, noID},
		{"with an id of 200 letters", `{"message":{"messageId":"` + strings.Repeat("x", 200) + `"}}`, noID},
		{"with data that is not base64", `{"message":{"messageId":"1","data":"%%"}}`, noPush},
		{"with two messages", `{"message":{"messageId":"1"},"message":{"messageId":"2"}}`, noPush},
	} {
		out = append(out, Case{Name: "events/an envelope " + e.name, Want: refused(http.StatusBadRequest, e.says),
			Arrange: nothing, Send: func(*Place) []Request { return []Request{Post("/v1/events", e.body)} }})
	}
	sortCases(out)
	return out
}

// policies are texts that must not load, sent to be tried.
func policies() []Case {
	const good = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: tried}
spec:
  mode: enforce
  images: ["registry.example/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [projects/dev/attestors/gate]
`

	edit := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	var out []Case
	for _, tt := range []struct{ name, text, says string }{
		{"nothing", "# nothing\n", "empty"},
		{"a list", "- a\n", "want a mapping"},
		{"not YAML", "a: [", "not YAML"},
		{"a tab", "a:\n\tb: c\n", "cannot start any token"},
		{"two documents", good + "---\n" + good, "second document"},
		{"another kind", edit("GatePolicy", "Policy"), "kind"},
		{"another version", edit("attestor/v1", "attestor/v2"), "apiVersion"},
		{"an unknown field", edit("  mode:", "  force: true\n  mode:"), "unknown field"},
		{"a field in another case", edit("  mode:", "  Mode:"), "unknown field"},
		{"a field twice", edit("  mode: enforce", "  mode: enforce\n  mode: dryRun"), "duplicate \\\"mode\\\""},
		{"a merge key", edit("  user: {nonRoot: true}", "  user: {<<: {nonRoot: true}}"), "spec.user: unknown field"},
		{"no threshold", edit("maximumFixableSeverity: MEDIUM, ", ""), "maximumFixableSeverity"},
		{"a severity of one's own", edit("MEDIUM", "MODERATE"), "MODERATE"},
		{"a severity in lower case", edit("MEDIUM", "medium"), "medium"},
		{"a boolean of old", edit("nonRoot: true", "nonRoot: yes"), "is not true or false"},
		{"a number for a boolean", edit("nonRoot: true", "nonRoot: 1"), "is not true or false"},
		{"no base", edit("  base: {required: false}\n", ""), "base"},
		{"a base that is required and of nothing", edit("required: false", "required: true"),
			"contradicts the missing spec.base.approved"},
		{"a key and an identity", edit("{required: false}",
			`{required: true, approved: [{name: b, repository: registry.example/b, tags: ["1"], `+
				`signedBy: {key: /k, keyless: {issuer: "https://i", subject: s}}}]}`), "has both key and keyless"},
		{"an identity without an issuer", edit("{required: false}", `{required: true, approved: [{name: b, `+
			`repository: registry.example/b, tags: ["1"], signedBy: {keyless: {subject: s}}}]}`), "issuer"},
		{"an invalid pattern", edit("registry.example/**", "registry.example/a**b"),
			"must be a whole path segment"},
		{"a pattern without a registry", edit("registry.example/**", "nginx"), "has no path"},
		{"an exception without an owner", good + "  exceptions: [{check: user, subject: x, reason: r, expires: " +
			"2099-01-01}]\n", "owner"},
		{"an exception without an end", good + "  exceptions: [{check: user, subject: x, owner: o, reason: r}]\n",
			"expires"},
		{"an exception that ends on no day", good + "  exceptions: [{check: user, subject: x, owner: o, reason: r, " +
			"expires: 2026-02-30}]\n", "expires"},
		{"an exception from signing", good + "  exceptions: [{check: attest, subject: x, owner: o, reason: r, " +
			"expires: 2099-01-01}]\n", "check"},
		{"a day without an owner", good + "  effectiveFrom: {date: 2999-03-01}\n", "owner is missing"},
		{"a day that does not exist", good + "  effectiveFrom: {date: 2999-02-30, owner: o}\n", "is not a date"},
		{"a limit with a day and without a value",
			edit("nonRoot: true", "nonRoot: {effectiveFrom: {date: 2999-03-01, owner: o}}"), "value is missing"},
		{"a rule that is no expression", good + "  rules: [{name: r, expression: 'image.labels[', message: m}]\n",
			"expression"},
		{"a rule that is no question", good + "  rules: [{name: r, expression: '1 + 1', message: m}]\n",
			"true or false"},
		{"a rule about what there is not",
			good + "  rules: [{name: r, expression: 'image.secrets == 1', message: m}]\n", "undefined field 'secrets'"},
		{"a rule of a hundred thousand brackets", good + "  rules: [{name: r, expression: '" + strings.Repeat("(",
			100_000) + "', message: m}]\n", "exceeds limit"},
		{"aliases that multiply", good + "  exceptions: [&e {check: user, subject: x, owner: o, reason: r, " +
			"expires: 2099-01-01}" + strings.Repeat(", *e", 50_000) + "]\n", "more than"},
		{"an alias of itself", edit(`["registry.example/**"]`, "&a [*a]"), "want a repository pattern"},
		{"brackets without end", strings.Repeat("[", 100_000), "exceeded max depth"},
		{"a hundred thousand keys", edit("{nonRoot: true}", "{nonRoot: true, "+strings.Repeat("k: v,", 100_000)+"}"),
			"duplicate \\\"k\\\""},
		{"a binary tag", edit("{name: tried}", "{name: !!binary dHJpZWQ=}"), "is not a text"},
		{"not UTF-8", edit("tried", "tri\xc3\x28"), "metadata.name"},
	} {
		out = append(out, Case{Name: "policies/" + tt.name, Want: refused(http.StatusBadRequest, tt.says), Arrange: nothing, Send: func(*Place) []Request {
			return []Request{Post("/v1/simulate", string(JSON(map[string]string{"policy": tt.text})))}
		}})
	}

	return append(out, Case{Name: "policies/good", Mends: "policies/another kind",
		Want: refused(http.StatusOK, `"judged":0`), Arrange: nothing, Send: func(*Place) []Request {
			return []Request{Post("/v1/simulate",
				string(JSON(map[string]string{"policy": good, "since": "2099-01-01T00:00:00Z"})))}
		}})
}

// postures are documents that are no definition of a service, or a poor one.
func postures() []Case {
	const typical = `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"api"},` +
		`"spec":{"template":{"spec":{"containers":[{"image":"gcr.io/acme/api:latest"}]}}}}`
	var out []Case
	send := func(name string, want Want, media, body string) {
		out = append(out, Case{Name: "posture/" + name, Want: want, Arrange: nothing, Send: func(*Place) []Request {
			r := Post("/v1/posture", body)
			r.Header.Set("Content-Type", media)
			return []Request{r}
		}})
	}

	const yaml, js = "application/yaml", "application/json"
	send("a service without containers", refused(http.StatusOK, `"verdict":"deny"`), js,
		strings.Replace(typical, `{"image":"gcr.io/acme/api:latest"}`, "", 1))
	send("a service as most are", refused(http.StatusOK, `"verdict":"deny"`), js, typical)
	const limits = "nested more than"
	for _, tt := range []struct{ name, media, body, says string }{
		{"nothing", yaml, " ", "the document is empty"},
		{"not JSON", js, "{", "not JSON"},
		{"a list", yaml, "- a\n", "a definition is required"},
		{"another kind", js, strings.Replace(typical, `"Service"`, `"Pod"`, 1), "unknown kind"},
		{"another's Service", js, strings.Replace(typical, "serving.knative.dev/v1", "v1", 1), "unknown kind"},
		{"the same field twice", js, strings.Replace(typical, `"kind":"Service"`, `"kind":"Pod","kind":"Service"`, 1),
			"duplicate key \\\"kind\\\""},
		{"brackets without end", yaml, strings.Repeat("[", 100_000), "nested deeper than"},
		{"aliases that multiply", yaml, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + multiplied(8) + "kind: Service\n",
			limits},
		{"an alias of itself", yaml, "a: &a [*a]\n", limits},
		{"a list for a container", js, strings.Replace(typical, `[{"image":"gcr.io/acme/api:latest"}]`, `[[]]`, 1),
			"containers[0] must be a mapping"},
		{"a plan of nothing", js, `{"format_version":"1.2","resource_changes":[]}`, "has no Cloud Run workload"},
	} {
		send(tt.name, refused(http.StatusBadRequest, tt.says), tt.media, tt.body)
	}
	return out
}

func multiplied(levels int) string {
	var b strings.Builder
	for i := range levels {
		below := "*a" + string(rune('0'+i))
		b.WriteString("a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat(below+", ",
			9) + below + "]\n")
	}
	return b.String()
}
