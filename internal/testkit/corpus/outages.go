package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// sceneParts are the requests without which a [Scene] cannot be judged.
func sceneParts() []string { return []string{"manifest", "config", "layer", "base", "base's config"} }

// asksFor reports whether r asks for a part of s.
func (s Scene) asksFor(part string, r *http.Request) bool {
	_, baseConfig := s.BaseImage.Bytes()
	switch part {
	case "manifest":
		return s.IsManifest(r)
	case "config":
		return r.URL.Path == s.ConfigPath
	case "layer":
		return r.URL.Path == s.Layer
	case "base":
		return strings.HasPrefix(r.URL.Path, "/v2/"+s.Repo+"/base/manifests/")
	}
	return r.URL.Path == "/v2/"+s.Repo+"/base/blobs/"+string(Sum(baseConfig))
}

// outages are what becomes of a scene where one request for it fails in one way.
func outages() []Case {
	var out []Case
	codes := map[int]attestor.Code{
		http.StatusUnauthorized: attestor.CodeRegistryDenied, http.StatusForbidden: attestor.CodeRegistryDenied,
		http.StatusNotFound: attestor.CodeContentMissing, http.StatusGone: attestor.CodeContentMissing,
		http.StatusTooManyRequests:     attestor.CodeRegistryBusy,
		http.StatusInternalServerError: attestor.CodeRegistryUnavailable,
		http.StatusBadGateway:          attestor.CodeRegistryUnavailable,
		http.StatusServiceUnavailable:  attestor.CodeRegistryUnavailable,
	}

	for _, status := range []int{401, 403, 404, 410, 429, 500, 502, 503} {
		for _, part := range sceneParts() {
			want := undecided(codes[status])
			switch {
			case strings.HasPrefix(part, "base") && status == http.StatusTooManyRequests:
				want = waiting(attestor.CodeBaseUnresolved)
			case strings.HasPrefix(part, "base"):
				want = undecided(attestor.CodeBaseUnresolved)
			case part == "layer" && status == http.StatusTooManyRequests:
				want = waiting(attestor.CodeUserLookupFailed, codes[status])
			case part == "layer":
				want = undecided(attestor.CodeUserLookupFailed, codes[status])
			case part == "manifest" && (status == http.StatusNotFound || status == http.StatusGone):
				want = refused(http.StatusNotFound, "does not exist")
			case status == http.StatusTooManyRequests:
				want = waiting(codes[status])
			}

			out = append(out, Case{
				Name: fmt.Sprintf("outages/%d for the %s", status, part), Policy: sceneNeeds,
				Want: want, Send: byDigest,
				Arrange: func(p *Place) {
					stage(p, func(s Scene, w http.ResponseWriter, r *http.Request) bool {
						if !s.asksFor(part, r) {
							return false
						}
						if status == http.StatusTooManyRequests {
							w.Header().Set("Retry-After", "3600") // longer than any decision may take
						}
						w.WriteHeader(status)
						return true
					})
				},
			})
		}
	}

	for _, part := range []string{"manifest", "layer", "base"} {
		want := map[string]Want{
			"manifest": undecided(attestor.CodeTimedOut), "layer": undecided(attestor.CodeUserLookupFailed,
				attestor.CodeTimedOut), "base": undecided(attestor.CodeBaseUnresolved),
		}[part]
		out = append(out, Case{Name: "outages/silence for the " + part, Policy: sceneNeeds, Want: want, Send: byDigest, Arrange: func(p *Place) {
			stage(p, func(s Scene, _ http.ResponseWriter, r *http.Request) bool {
				if !s.asksFor(part, r) {
					return false
				}
				<-r.Context().Done()
				return true
			})
		}})
	}

	return append(out, Case{Name: "outages/no such image",
		Want: refused(http.StatusNotFound, "outages-no-such-image:1 does not exist"), Arrange: func(*Place) {}},
		Case{Name: "outages/a tag that moves between requests", Policy: sceneNeeds, Want: admitted(),
			Arrange: func(p *Place) { movingTag(p) },
			Send:    func(p *Place) []Request { return []Request{Attest(p.Ref("1"))} }})
}

// movingTag answers the first request for the tag with the good image, and any
// further one with a worse.
func movingTag(p *Place) {
	bad := Image{ConfigExtra: UserConfig("")}
	p.PushTo(p.Repo, "bad", bad)

	asked := make(chan struct{}, 1)
	asked <- struct{}{}

	stage(p, func(s Scene, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/"+s.Repo+"/manifests/1" {
			return false
		}
		select {
		case <-asked:
			return false
		default:
			http.Redirect(w, r, "/v2/"+s.Repo+"/manifests/"+string(bad.Digest()), http.StatusTemporaryRedirect)
			return true
		}
	})
}

// PrivateTargets are addresses that a registry must not be able to point the
// gate at. $VICTIM is a server of the tester's on loopback.
func PrivateTargets() map[string]string {
	return map[string]string{
		"another port of this machine":                "http://$VICTIM",
		"the same over HTTPS":                         "https://$VICTIM",
		"this machine by name":                        "https://localhost:1",
		"this machine, IPv6":                          "https://[::1]:1",
		"this machine, as an IPv4-mapped address":     "https://[::ffff:127.0.0.1]:1",
		"the metadata server":                         "http://169.254.169.254/computeMetadata/v1/",
		"the metadata server by name":                 "http://metadata.google.internal/",
		"a private address":                           "https://10.0.0.1",
		"plain HTTP elsewhere":                        "http://cdn.example",
		"the metadata server through NAT64":           "https://[64:ff9b::a9fe:a9fe]/",
		"an address that a carrier shares":            "https://100.64.0.1/",
		"this machine by all addresses":               "https://0.0.0.0:1/",
		"another scheme":                              "file:///etc/passwd",
		"another scheme, that the HTTP client speaks": "ftp://$VICTIM/",
	}
}

func redirects() []Case {
	var out []Case
	for name, target := range PrivateTargets() {
		for _, part := range []string{"manifest", "config", "layer", "base"} {
			want := denied(attestor.CodeRegistryNotAllowed)
			switch part {
			case "base":
				want = undecided(attestor.CodeBaseUnresolved)
			case "layer":
				want.Codes = sorted(append(want.Codes, attestor.CodeUserLookupFailed))
			}

			out = append(out, Case{Name: "redirects/the " + part + " is at " + name, Policy: sceneNeeds, Want: want, Send: byDigest, Arrange: func(p *Place) {
				to := strings.ReplaceAll(target, "$VICTIM", p.Victim)
				stage(p, func(s Scene, w http.ResponseWriter, r *http.Request) bool {
					if !s.asksFor(part, r) {
						return false
					}
					http.Redirect(w, r, to, http.StatusTemporaryRedirect)
					return true
				})
			}})
		}
	}

	sortCases(out)
	return append(out,
		Case{Name: "redirects/without end", Policy: sceneNeeds, Want: undecided(attestor.CodeRegistryMisbehaves), Send: byDigest, Arrange: func(p *Place) {
			stage(p, func(s Scene, w http.ResponseWriter, r *http.Request) bool {
				if !s.IsManifest(r) {
					return false
				}
				http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusTemporaryRedirect) //nolint:gosec // that is the attack
				return true
			})
		}},
		Case{Name: "redirects/a token server at a private address", Policy: sceneNeeds,
			Want: undecided(attestor.CodeRegistryDenied), Send: byDigest, Arrange: func(p *Place) {
				stage(p, func(s Scene, w http.ResponseWriter, r *http.Request) bool {
					if !s.IsManifest(r) {
						return false
					}
					w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", "http://"+p.Victim+"/token"))
					w.WriteHeader(http.StatusUnauthorized)
					return true
				})
			}},
	)
}

// bombs cost more to read than to send.
func bombs() []Case {
	const megabyte = 1 << 20
	labels := func(n int) string {
		m := map[string]string{}
		for k := range n {
			m[fmt.Sprintf("label-%d", k)] = strings.Repeat("x", 64)
		}
		b, _ := json.Marshal(m) // strings
		return string(b)
	}

	bomb := func(size int64) Layer {
		return Layer{Blob: GzipOf(io.LimitReader(Zeros{}, size)), MediaType: OCILayer + "+gzip",
			DiffID: LayerOf("a").DiffID}
	}
	return []Case{
		{Name: "bombs/a layer that unpacks to hundreds of times its size", Want: denied(attestor.CodeLayersMismatch), Arrange: func(p *Place) {
			p.Push(Image{Layers: []Layer{bomb(32 * megabyte), LayerOf("b")}})
		}},
		{Name: "bombs/the same where a name is looked up", Policy: resolveNames, Want: denied(attestor.CodeLayersMismatch), Arrange: func(p *Place) {
			p.Push(Image{User: "app", Layers: []Layer{bomb(32 * megabyte)}})
		}},
		{Name: "bombs/an /etc/passwd of 8 MiB", Policy: resolveNames, Want: undecided(attestor.CodeUserLookupFailed), Arrange: func(p *Place) {
			content := Tar(Etc(Root1000 + strings.Repeat("#\n", 4*megabyte))...)
			p.Push(Image{User: "app",
				Layers: []Layer{{Blob: GzipOf(bytes.NewReader(content)), MediaType: OCILayer + "+gzip",
					DiffID: Sum(content)}}})
		}},
		{Name: "bombs/a layer said to be of a terabyte", Want: undecided(attestor.CodeLayerTooLarge), Arrange: func(p *Place) {
			l := LayerOf("x").Forged(LayerOf("a").DiffID)
			i := Image{Layers: []Layer{l, LayerOf("b")}}
			m, config := i.Bytes()
			p.Blob(config)
			p.Manifest("1", OCIManifest, []byte(strings.Replace(string(m), fmt.Sprintf(`"size":%d}`, len(l.Blob)),
				`"size":1099511627776}`, 1)))
		}},
		{Name: "bombs/ten thousand labels", Want: admitted(), Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"config":{"User":"65532:65532","Labels":` + labels(10_000) + `}`
			p.Push(i)
		}},
		{Name: "bombs/ten thousand labels that hide one from a rule", Policy: debugRule, Want: undecided(attestor.CodeRuleFailed), Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"config":{"User":"65532:65532","Labels":` + labels(10_000) + `}`
			p.Push(i)
		}},
		{Name: "bombs/annotations of three megabytes", Want: admitted(), Arrange: func(p *Place) {
			i := p.Good()
			i.Extra = `"annotations":{"a":"` + strings.Repeat("x", 3*megabyte) + `"}`
			p.Push(i)
		}},
		{Name: "bombs/256 layers, none of them the base's", Want: denied(attestor.CodeBaseNotApproved), Arrange: func(p *Place) {
			p.Push(Image{Layers: repeated(256, LayerOf("x"))})
		}},
		{Name: "bombs/256 layers that all claim the base's content", Want: denied(attestor.CodeLayersMismatch), Arrange: func(p *Place) {
			layers := repeated(256, LayerOf("x"))
			layers[0], layers[1] = layers[0].Forged(LayerOf("a").DiffID), layers[1].Forged(LayerOf("b").DiffID)
			p.Push(Image{Layers: layers})
		}},
	}
}

// sortCases puts what came of a map into one order.
func sortCases(cases []Case) {
	slices.SortFunc(cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
}
