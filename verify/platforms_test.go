package verify_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

func TestIndex(t *testing.T) {
	images, others := corpus.IndexParts()
	for _, tt := range corpus.Indexes() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			for _, r := range images {
				pushRaw(t, host, "app", "child", r)
			}

			for _, m := range others {
				putManifest(t, host, "app", "child", m.MediaType, m.Bytes)
			}

			d := pushIndex(t, host, "app", "1", tt.Entries...)
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app:1"), attestor.Needs{Platforms: tt.Platforms})
			if err != nil {
				t.Fatal(err)
			}

			if !r.Index || r.Image.Digest() != d || r.MediaType != ociIndex {
				t.Errorf("resolved %+v, want index %s", r, d)
			}

			wantCodes(t, r.Problems, tt.Codes...)
			if diff := cmp.Diff(tt.Children, platforms(r.Children), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("children (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.Left, platforms(r.Left), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func platforms(children []attestor.Child) []string {
	var s []string
	for _, c := range children {
		s = append(s, c.Platform)
	}
	return s
}

// What is wrong with one child is in that child's evidence.
func TestChild(t *testing.T) {
	for _, tt := range corpus.Children() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "child", rawImage{})
			pushRaw(t, host, "app", "child", corpus.ArtifactImage())
			pushIndex(t, host, "app", "1", tt.Entry)
			r, all := inspectAll(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
			wantCodes(t, r.Problems)
			var want []attestor.Code
			if tt.Code != "" {
				want = append(want, tt.Code)
			}

			wantCodes(t, all[0].Problems, want...)
		})
	}
}

// An image by itself: what is wrong with it is in the answer of Resolve.
func TestImage(t *testing.T) {
	for _, tt := range corpus.Images() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			d := pushRaw(t, host, "app", "1", tt.Image)

			// By digest: what is wrong is a denial of that digest.
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app@"+string(d)), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}

			if r.Image.Digest() != d {
				t.Errorf("resolved %s, want %s", r.Image, d)
			}
			if tt.Code == "" {
				wantCodes(t, r.Problems)
				return
			}

			wantCodes(t, r.Problems, tt.Code)
			if r.Problems[0].Status != attestor.StatusDeny || r.Problems[0].Check != attestor.CheckPlatforms || len(r.Children) > 0 {
				t.Errorf("resolved %+v, want a denial and nothing to judge", r)
			}
		})
	}
}

func TestManifestBytes(t *testing.T) {
	_, config := rawImage{}.Bytes()
	for _, tt := range corpus.Manifests() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			putBlob(t, host, "app", config)
			d := putManifest(t, host, "app", "1", tt.MediaType, tt.Bytes)
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app@"+string(d)), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}

			var want []attestor.Code
			if tt.Code != "" {
				want = append(want, tt.Code)
			}

			wantCodes(t, r.Problems, want...)
		})
	}
}

// The author's claims are recorded, bounded; values of the environment are not.
func TestClaims(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{
		Extra: `"annotations":{"org.opencontainers.image.title":"app"}`,
		ConfigExtra: `"config":{"User":"1000","Env":["PATH=/bin","DB_PASSWORD=hunter2","TOKEN_FILE=/run/t",` +
			`"API_KEY=","KEY=AKIAABCDEFGHIJKLMNOP"],"Labels":{"team":"a","big":"` + strings.Repeat("x",
			70_000) + `"},"ExposedPorts":{"8080/tcp":{}},"Entrypoint":["/app"],"Cmd":["-v"]}`,
	})

	got := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{}).Config
	if len(got.Labels["big"]) > 66_000 {
		t.Errorf("label big has %d bytes", len(got.Labels["big"]))
	}

	got.Labels["big"], got.Size = "", 0
	want := attestor.ImageConfig{
		User: "1000", Labels: map[string]string{"team": "a", "big": ""}, Annotations: map[string]string{"org.opencontainers.image.title": "app"},
		EnvNames: []string{"PATH", "DB_PASSWORD", "TOKEN_FILE", "API_KEY", "KEY"}, SecretEnv: []string{"DB_PASSWORD", "KEY"},
		Entrypoint: []string{"/app"}, Cmd: []string{"-v"}, ExposedPorts: []string{"8080/tcp"}, Clipped: []string{"labels"},
	}

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

// What was left out is not to be taken for what is not there.
func TestClaimsSayWhatWasClipped(t *testing.T) {
	many := func(form string) string {
		var list []string
		for n := range 300 {
			list = append(list, fmt.Sprintf(form, n))
		}
		return strings.Join(list, ",")
	}

	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{
		Extra: `"annotations":{` + many(`"a%d":""`) + `}`,
		ConfigExtra: `"config":{"Env":[` + many(`"TOKEN_%d=x"`) + `],"Labels":{` + many(`"l%d":""`) + `},"ExposedPorts":{` + many(`"%d/tcp":{}`) +
			`},"Entrypoint":[` + many(`"e%d"`) + `],"Cmd":[` + many(`"c%d"`) + `]}`,
	})

	got := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{}).Config.Clipped
	want := []string{"labels", "annotations", "envNames", "secretEnv", "entrypoint", "cmd", "exposedPorts"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clipped (-want +got):\n%s", diff)
	}
}

// The smallest limits still have their reasons.
func TestLimits(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/app:1", index(t, configured(t, baseImage(t, "amd64", 1), "amd64", "1"), configured(t, baseImage(t, "arm64", 1), "arm64", "1")))
	i := newInspector(t, host, func(c *config) { c.Limits.Descriptors = 1 })
	r, err := i.Resolve(context.Background(), parse(t, host+"/app:1"), attestor.Needs{})
	if err != nil {
		t.Fatal(err)
	}

	wantCodes(t, r.Problems, attestor.CodeTooLarge)
}

// A runtime takes linux/x86_64 for linux/amd64, so that a policy about amd64 is
// about it, and an index with both has one platform twice.
func TestPlatformsOfOtherSpellings(t *testing.T) {
	host := newRegistry(t, nil)
	amd := rawImage{Layers: layersOf("a")}
	pushRaw(t, host, "app", "c", amd)
	entry := strings.Replace(amd.Entry(), `"amd64"`, `"x86_64"`, 1)
	if entry == amd.Entry() {
		t.Fatal("the entry names no architecture: this test would prove nothing")
	}

	i, needs := newInspector(t, host, nil), attestor.Needs{Platforms: []string{"linux/amd64"}}

	pushIndex(t, host, "app", "1", entry)
	r, err := i.Resolve(context.Background(), parse(t, host+"/app:1"), needs)
	if err != nil || len(r.Children) != 1 || len(r.Left) > 0 {
		t.Errorf("resolved %+v, %v; want its one child to be judged", r, err)
	}

	pushIndex(t, host, "app", "2", amd.Entry(), entry)
	r, err = i.Resolve(context.Background(), parse(t, host+"/app:2"), needs)
	if err != nil {
		t.Fatal(err)
	}

	wantCodes(t, r.Problems, attestor.CodePlatformDuplicate)
}
