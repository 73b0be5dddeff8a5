package verify_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// Whoever may push can invent platforms without end. Little is kept of them,
// the registry is asked nothing for them, and images for real platforms are
// judged rightly meanwhile.
func TestInventedPlatforms(t *testing.T) {
	const invented = 16_000
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, nil)
	amd, arm := rawImage{Layers: layersOf("amd")}, rawImage{Arch: "arm64", Layers: layersOf("arm")}
	pushRaw(t, host, "base", "c", amd)
	pushRaw(t, host, "base", "c", arm)
	pushIndex(t, host, "base", "1", amd.Entry(), arm.Entry())
	pushRaw(t, host, "app", "amd64", rawImage{Layers: layersOf("amd", "x")})
	pushRaw(t, host, "app", "arm64", rawImage{Arch: "arm64", Layers: layersOf("arm", "x")})
	pushRaw(t, host, "app", "swapped", rawImage{Arch: "arm64", Layers: layersOf("amd", "x")})
	i := newInspector(t, host, nil)
	honest := func() {
		t.Helper()
		for tag, want := range map[string]attestor.Level{"amd64": attestor.LayersExact, "arm64": attestor.LayersExact, "swapped": ""} {
			ev := inspectOne(t, i, host+"/app:"+tag, needs)
			wantCodes(t, ev.Problems)
			if ev.Base.Evidence != want {
				t.Errorf("%s: base = %+v, want %q", tag, ev.Base, want)
			}
		}
	}

	honest()
	known, _, refreshed := verify.KeptPlatforms(i)

	f.set(nil)
	for n := range invented {
		if problems := verify.Ensure(context.Background(), i, needs.Bases, fmt.Sprintf("linux/arm/v7.%d", n)); len(problems) > 0 {
			t.Fatalf("platform %d: %+v", n, problems)
		}
	}

	if got := len(f.requests()); got > 0 {
		t.Errorf("%d platforms caused %d requests, want none", invented, got)
	}
	if k, others, r := verify.KeptPlatforms(i); k != known || r != refreshed || others > 16 {
		t.Errorf("kept %d known, %d others, %d refreshed; want %d, at most 16, %d", k, others, r, known, refreshed)
	}

	honest()
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}
}

// An image for a platform that nobody knows is judged like any other.
func TestImageForAnInventedPlatform(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Arch: "sparc128", Layers: layersOf("a", "x")})
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
	wantCodes(t, ev.Problems)
	if ev.Base.Evidence != "" {
		t.Errorf("base = %+v, want none: the base is not for sparc128", ev.Base)
	}
}

// The spellings are containerd's, see its platforms.Normalize.
func TestPlatformSpellings(t *testing.T) {
	i := newInspector(t, "registry.example", nil)
	for _, tt := range []struct {
		platform, want string
		known          bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64/v1", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64/v3", true},
		{"linux/x86_64", "linux/amd64", true},
		{"linux/x86-64/v1", "linux/amd64", true},
		{"linux/i386", "linux/386", true},
		{"linux/aarch64", "linux/arm64", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm64/8", "linux/arm64", true},
		{"linux/arm", "linux/arm/v7", true},
		{"linux/arm/6", "linux/arm/v6", true},
		{"linux/armhf", "linux/arm/v7", true},
		{"linux/armel", "linux/arm/v6", true},
		{"linux/s390x", "linux/s390x", true},
		{"linux/arm/v7.3", "linux/arm/v7.3", false},
		{"linux/amd64/v5", "linux/amd64/v5", false},
		{"linux/sparc128", "linux/sparc128", false},
		{"windows/amd64", "windows/amd64", false},
	} {
		if got, known := verify.Normal(i, tt.platform); got != tt.want || known != tt.known {
			t.Errorf("%s: %s, known %t; want %s, %t", tt.platform, got, known, tt.want, tt.known)
		}
	}
}
