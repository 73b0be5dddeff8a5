package emulator_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor/emulator"
)

// exchange is one request that gcloud 528 sent, and what it was answered.
type exchange struct {
	command, method, path, body, answer string
}

func readExchanges(t *testing.T) []exchange {
	t.Helper()
	f, err := os.Open("testdata/gcloud/requests.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []exchange
	var command string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)

	for sc.Scan() {
		line := sc.Text()
		if c, ok := strings.CutPrefix(line, "##### "); ok {
			command = c
		}
		if req, ok := strings.CutPrefix(line, ">>> "); ok {
			method, path, _ := strings.Cut(req, " ")
			out = append(out, exchange{command: command, method: method, path: path})
		}
		if b, ok := strings.CutPrefix(line, "    body: "); ok {
			out[len(out)-1].body = b
		}
		if a, ok := strings.CutPrefix(line, "<<< 200 "); ok {
			out[len(out)-1].answer = a
		}
	}

	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestReplay sends what gcloud sent and wants what it was answered, except for
// what is the server's to choose.
func TestReplay(t *testing.T) {
	g := newGoogle(t, emulator.Options{Behaviour: emulator.Behaviour{Uniqueness: emulator.UniqueNone}})
	exchanges := readExchanges(t)
	prepareReplay(t, g, exchanges)
	base := "http://" + serve(t, g.Emulator)

	for i, x := range exchanges {
		t.Run(fmt.Sprintf("%02d %s %.60s", i, x.method, x.path), func(t *testing.T) {
			if strings.HasSuffix(x.path, "/tags/latest?alt=json") {
				status, _ := send(t, x.method, base+x.path, "")
				if status != http.StatusNotFound {
					t.Errorf("status %d: the emulator keeps no tags", status)
				}
				return
			}

			status, answer := send(t, x.method, base+x.path, x.body)
			if status != http.StatusOK {
				t.Fatalf("status %d: %s\nof %s", status, answer, x.command)
			}
			if strings.Contains(x.path, "/locations/us-east1/occurrences") {
				// The recorded fake mixed locations up; these occurrences are global.
				if strings.TrimSpace(answer) != "{}" {
					t.Errorf("the list of a location shows occurrences of none: %s", answer)
				}
				return
			}

			var got, want any
			unmarshal(t, answer, &got)
			unmarshal(t, x.answer, &want)
			if o, ok := want.(map[string]any)["occurrences"].([]any); ok && x.method == http.MethodGet {
				want = map[string]any{"occurrences": slices.DeleteFunc(o, func(o any) bool { return !selected(t, x.path, o) })}
			}

			if diff := missing("", want, got); diff != "" {
				t.Errorf("%s\ngot  %s\nwant %s", diff, answer, x.answer)
			}
		})
	}
}

// prepareReplay makes the world that the log was recorded in.
func prepareReplay(t *testing.T, g google, exchanges []exchange) {
	t.Helper()
	g.createNote(t, "projects/proj/notes/gate")
	note := `{"name":"projects/proj/notes/gate-note","attestation":{"hint":{"humanReadableName":"gate"}}}`
	if _, err := g.Load(strings.NewReader(note)); err != nil {
		t.Fatal(err)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SeedKey("projects/kp/locations/us-east1/keyRings/kr/cryptoKeys/k/cryptoKeyVersions/1",
		kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, key); err != nil {
		t.Fatal(err)
	}

	loaded := 0
	for _, x := range exchanges {
		if strings.HasPrefix(x.answer, `{"occurrences":[`) && !strings.Contains(x.path, "/locations/") {
			n, err := g.Load(strings.NewReader(x.answer))
			if err != nil {
				t.Fatal(err)
			}
			loaded += n
		}
		if strings.HasPrefix(x.path, "/v1/projects/proj/policy") {
			p := &binaryauthorizationpb.Policy{}
			if err := protojson.Unmarshal([]byte(x.answer), p); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Binauthz.UpdatePolicy(ctxFor(t), &binaryauthorizationpb.UpdatePolicyRequest{Policy: p}); err != nil {
				t.Fatal(err)
			}
		}
	}

	if loaded == 0 {
		t.Fatal("the log holds no occurrences to load")
	}
}

func send(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctxFor(t), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}

	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}

	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}

	return res.StatusCode, string(b)
}

// selected is whether a recorded occurrence is one that the request asked for:
// the fake that answered gcloud left parts of filters out.
func selected(t *testing.T, path string, occurrence any) bool {
	t.Helper()
	u, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}

	filter, o := u.Query().Get("filter"), occurrence.(map[string]any)
	severity := ""
	if v, ok := o["vulnerability"].(map[string]any); ok {
		severity = fmt.Sprint(v["effectiveSeverity"])
	}

	return (!strings.Contains(filter, "kind") || strings.Contains(filter, fmt.Sprintf("%q", o["kind"]))) &&
		(!strings.Contains(filter, "effectiveSeverity") || strings.Contains(filter, fmt.Sprintf("%q", severity)))
}

// chosen are the fields whose values are the server's.
// never assigned to
var chosen = []string{"name", "createTime", "updateTime", "uploadTime", "buildTime", "signature", "signatureCrc32c", "pem", "imageSizeBytes", "tags"}

// missing says what of want is not in got.
func missing(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for k, v := range want {
			_, has := g[k]
			switch {
			case v == nil, v == false:
				if g[k] != nil && g[k] != false {
					return fmt.Sprintf("%s.%s is %v, want nothing", path, k, g[k])
				}
			case slices.Contains(chosen, k) && (has || k == "buildTime" || k == "tags" || k == "imageSizeBytes"):
			default:
				if d := missing(path+"."+k, v, g[k]); d != "" {
					return d
				}
			}
		}

	case []any:
		g, _ := got.([]any)
		for i, v := range want {
			if !slices.ContainsFunc(g, func(x any) bool { return missing("", v, x) == "" }) {
				return fmt.Sprintf("%s[%d] is missing", path, i)
			}
		}

	case string:
		s, _ := got.(string)
		if norm := strings.NewReplacer("-", "+", "_", "/"); norm.Replace(s) != norm.Replace(want) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}

	default:
		if got != want {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
	}
	return ""
}

func TestReplayComparisonCanFail(t *testing.T) {
	const want = `{"a":{"b":["x",{"c":1}]},"none":null}`
	for _, got := range []string{`{}`, `{"a":{"b":["x"]}}`, `{"a":{"b":["x",{"c":2}]}}`, `{"a":{"b":["x",{"c":1}]},"none":[1]}`} {
		var w, g any
		if err := json.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(got), &g); err != nil {
			t.Fatal(err)
		}

		if missing("", w, g) == "" {
			t.Errorf("%s passes for %s", got, want)
		}
	}
}
