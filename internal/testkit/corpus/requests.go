package corpus

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// requests are ill-made requests by somebody who may do everything.
func requests() []Case {
	var out []Case
	body := func(name string, status int, says, text string) {
		out = append(out, Case{Name: "requests/" + name, Want: refused(status, says), Arrange: nothing, Send: func(p *Place) []Request {
			return []Request{Post("/v1/attest", strings.ReplaceAll(text, "$REF", p.Ref("1")))}
		}})
	}

	for _, b := range []struct{ name, text, says string }{
		{"empty", " ", "empty"},
		{"not JSON", "image=x", "not valid JSON"},
		{"cut short", `{"image":"$REF`, "is truncated"},
		{"an array", `["$REF"]`, "an object is required"},
		{"a string", `"$REF"`, "an object is required"},
		{"null", `null`, "null at its top"},
		{"no image", `{}`, "image is empty"},
		{"a name in another case", `{"Image":"$REF"}`, `unknown field`},
		{"a name in another case beside the right one", `{"image":"$REF","IMAGE":"x"}`, `unknown field`},
		{"an unknown field", `{"image":"$REF","force":true}`, `unknown field`},
		{"an unknown field inside", `{"image":"$REF","breakGlass":{"reason":"production is down","by":"me"}}`,
			`unknown field`},
		{"the same field twice", `{"image":"$REF","image":"$REF"}`, `duplicate field`},
		{"the same field twice, once escaped", `{"image":"$REF","\u0069mage":"$REF"}`, `duplicate field`},
		{"the same label twice", `{"image":"$REF","labels":{"a":"1","a":"2"}}`, `duplicate field`},
		{"a second object", `{"image":"$REF"}{"image":"$REF"}`, "data after the JSON value"},
		{"trailing text", `{"image":"$REF"}x`, "data after the JSON value"},
		{"a number for text", `{"image":7}`, "a string is required"},
		{"text for a boolean", `{"image":"$REF","dryRun":"true"}`, "true or false is required"},
		{"a number for a boolean", `{"image":"$REF","dryRun":0}`, "true or false is required"},
		{"null for a boolean", `{"image":"$REF","dryRun":null}`, "null at"},
		{"null for an object", `{"image":"$REF","breakGlass":null}`, "null at"},
		{"a duration without a unit", `{"image":"$REF","wait":"30"}`, "is not a duration"},
		{"a negative duration", `{"image":"$REF","wait":"-1s"}`, "is not a duration"},
		{"not UTF-8", "{\"image\":\"\xff\"}", "not valid JSON"},
		{"deep nesting", `{"labels":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}", "nested"},
		{"very deep nesting", strings.Repeat("[", 100_000), "nested"},
		{"an override without reason", `{"image":"$REF","breakGlass":{"reason":"  "}}`, "breakGlass has no reason"},
		{"the gate's own label", `{"image":"$REF","labels":{"attestor.rejudges":"d1"}}`, "the gate itself sets"},
		{"65 labels", `{"image":"$REF","labels":{` + manyLabels(65) + `}}`, "at most 64"},
		{"a label of 2 KiB", `{"image":"$REF","labels":{"a":"` + strings.Repeat("x", 2048) + `"}}`, "too long"},
		{"a policy where the answer is signed", `{"image":"$REF","policy":"lax"}`, "dryRun"},
	} {
		body(b.name, http.StatusBadRequest, b.says, b.text)
	}
	body("one byte more than is read", http.StatusRequestEntityTooLarge, "more than 1048576 bytes",
		`{"image":"`+strings.Repeat("x", 1<<20)+`"}`)
	return append(append(out, envelopes()...), queries()...)
}

func manyLabels(n int) string {
	var l []string
	for i := range n {
		l = append(l, fmt.Sprintf(`"l%d":"v"`, i))
	}
	return strings.Join(l, ",")
}

// envelopes are about how a body comes, and by which way.
func envelopes() []Case {
	var out []Case
	send := func(name string, status int, says string, edit func(r *Request)) {
		out = append(out, Case{Name: "requests/" + name, Want: refused(status, says), Arrange: nothing, Send: func(p *Place) []Request {
			r := Attest(p.Ref("1"))
			edit(&r)
			return []Request{r}
		}})
	}

	const noCall = `"title":"Not Found"` // as for any path: the answer about an image that does not exist names it
	bomb := GzipOf(io.LimitReader(Zeros{}, 50<<20))
	send("a gzip bomb that says so", http.StatusUnsupportedMediaType, "the body is compressed", func(r *Request) {
		r.Body = bomb
		r.Header.Set("Content-Encoding", "gzip")
	})

	send("a gzip bomb that does not say so", http.StatusBadRequest, "not valid JSON at byte 0",
		func(r *Request) { r.Body = bomb })
	send("two megabytes without a length", http.StatusRequestEntityTooLarge, "more than 1048576 bytes",
		func(r *Request) { r.Body, r.Chunked = bytes.Repeat([]byte{' '}, 2<<20), true })
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-7",
		"application/jsonx", ""} {
		send(fmt.Sprintf("the media type %q", media), http.StatusUnsupportedMediaType, "the body's type",
			func(r *Request) { r.Header["Content-Type"] = []string{media} })
	}

	send("GET with a body", http.StatusMethodNotAllowed, "Method Not Allowed",
		func(r *Request) { r.Method = http.MethodGet })
	send("a method of one's own", http.StatusMethodNotAllowed, "Method Not Allowed",
		func(r *Request) { r.Method = "ATTEST" })
	for n, path := range []string{
		"/v1/attest/", "//v1/attest", "/v1//attest", "/./v1/attest", "/v1/x/../attest", "/v1%2fattest", "/V1/attest",
		"/v1/attest%00", "/v1/attest;x", "/v1",
	} {
		send(fmt.Sprintf("path %d: %s", n+1, path), http.StatusNotFound, noCall, func(r *Request) { r.Path = path })
	}

	send("the path /v1/decisions/../attest", http.StatusNotFound, noCall,
		func(r *Request) { r.Path = "/v1/decisions/../attest" })
	for name, value := range map[string]string{"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/v1/attestations",
		"X-Rewrite-URL": "/v1/attestations"} {
		// as without it: there is no such image
		send("the header "+name, http.StatusNotFound, "does not exist", func(r *Request) { r.Header.Set(name, value) })
	}
	sortCases(out)
	return out
}

// queries are ill-made searches of the record.
func queries() []Case {
	var out []Case
	for _, q := range []struct{ query, says string }{
		{"imag=x", "an unknown parameter"}, {"verdict=Pass", "is not a verdict"},
		{"verdict=pass&verdict=deny", "more than once"},
		{"pageSize=0", "pageSize is not a positive number"}, {"pageSize=-1", "pageSize is not a positive number"},
		{"pageSize=x", "pageSize is not a positive number"},
		{"since=yesterday", "is not a time"}, {"until=2026-13-01", "is not a time"},
		{"image=x", "neither tag nor digest"},
		{"repository=Nginx", "repository"}, {"repository=a/**b/c", "must be a whole path segment"},
		{"image=sha256:abc", "is not a digest"}, {"pageToken=x", "pageToken is not a token of this service"},
		{"a=%zz", "malformed"}, {"a;b", "malformed"},
	} {
		out = append(out, Case{Name: "requests/the query " + q.query, Want: refused(http.StatusBadRequest, q.says),
			Arrange: nothing, Send: func(*Place) []Request { return []Request{Get("/v1/decisions?" + q.query)} }})
	}

	return append(out,
		Case{Name: "requests/a decision by a path",
			Want: refused(http.StatusNotFound, "no such decision"), Arrange: nothing,
			Send: func(*Place) []Request { return []Request{Get("/v1/decisions/..%2f..%2fetc%2fpasswd")} }},
		Case{Name: "requests/a revocation without a reason", Want: refused(http.StatusBadRequest,
			"reason has 0 characters"), Arrange: nothing, Send: func(p *Place) []Request {
			return []Request{{Method: http.MethodDelete, Path: "/v1/attestations?image=" + p.Ref(string(Sum(nil)))}}
		}},
	)
}

// references are what image may not be: nothing is fetched for any of them.
func references() []Case {
	var out []Case
	d := string(Sum([]byte("x")))
	for _, r := range []struct {
		name, ref string
		want      Want
	}{
		{"a scheme", "https://$REF", refused(400, "remove")},
		{"neither tag nor digest", "$HOST/$REPO", refused(400, "neither tag nor digest")},
		{"no registry", "nginx:1", refused(400, "the registry is missing")},
		{"no registry, by digest", "library/nginx@" + d, refused(400, "the registry is missing")},
		{"a digest that is short", "$HOST/$REPO@sha256:abc", refused(400, "is not a digest")},
		{"a digest in capitals", "$HOST/$REPO@sha256:" + strings.ToUpper(d[7:]), refused(400, "is not a digest")},
		{"a digest of another kind", "$HOST/$REPO@sha512:" + strings.Repeat("ab", 64), refused(400, "is not a digest")},
		{"two digests", "$HOST/$REPO@" + d + "@" + d, refused(400, "is not a digest")},
		{"a path that climbs", "$HOST/corpus/../base/debian:1", refused(400, "is not a path segment")},
		{"an empty segment", "$HOST//$REPO:1", refused(400, "is not a path segment")},
		{"capitals", "$HOST/Corpus/app:1", refused(400, "can only contain the characters")},
		{"a space", "$HOST/$REPO:1 ", refused(400, "a character that no reference has")},
		{"a line break", "$HOST/$REPO:1\n", refused(400, "a character that no reference has")},
		{"a NUL", "$HOST/$REPO:1\x00", refused(400, "a character that no reference has")},
		{"a query", "$HOST/$REPO:1?x=y", refused(400, "is not a reference")},
		{"a user", "me@$HOST/$REPO:1", refused(400, "is not a digest")},
		{"letters that look alike", "$HOST/соrpus/app:1", refused(400, "a character that no reference has")},
		{"ten thousand letters", "$HOST/" + strings.Repeat("a", 10_000) + ":1", refused(400, "at most 1024")},
		{"the metadata server", "169.254.169.254/corpus/app:1", denied("NO_POLICY")},
		{"the metadata server by name", "metadata.google.internal/corpus/app:1", denied("NO_POLICY")},
		{"a private address", "10.0.0.1:5000/corpus/app:1", denied("NO_POLICY")},
		{"another port of this machine", "$VICTIM/corpus/app:1", denied("NO_POLICY")},
		{"this machine by another name", "localhost:1/corpus/app:1", denied("NO_POLICY")},
		{"a registry that is governed and not configured", "registry.example/governed/app:1",
			denied("REGISTRY_NOT_ALLOWED")},
		{"a private address that is governed and not configured", "10.0.0.1:5000/governed/app:1",
			denied("REGISTRY_NOT_ALLOWED")},
		{"somebody else's port that is governed and not configured", "$VICTIM/governed/app:1",
			denied("REGISTRY_NOT_ALLOWED")},
	} {
		out = append(out, Case{Name: "references/" + r.name, Want: r.want, Arrange: nothing, Send: func(p *Place) []Request {
			ref := strings.NewReplacer("$REF", p.Ref("1"), "$HOST", p.Host, "$REPO", p.Repo, "$VICTIM",
				p.Victim).Replace(r.ref)
			return []Request{Post("/v1/attest", string(JSON(map[string]string{"image": ref})))}
		}})
	}

	return out
}

// Governed are patterns of repositories that a policy must govern beside the
// cases' own, so that what refuses them is not that nobody asked.
func Governed(host, victim string) []string {
	return []string{host + "/" + BuilderImages, "registry.example/governed/**", "10.0.0.1:5000/governed/**",
		victim + "/governed/**"}
}
