package verify_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

func filesOf(files ...corpus.File) rawLayer { return corpus.TarLayer(files...) }

const (
	debian10 = "ID=debian\nVERSION_ID=\"10\"\n"
	ubuntu22 = "ID=ubuntu\nVERSION_ID=\"22.04\"\n"
)

// TestSystem: the os-release is what a container sees of it, from both of its places and through all layers.
func TestSystem(t *testing.T) {
	file := func(name, content string) corpus.File { return corpus.File{Name: name, Content: content} }
	for _, tt := range []struct {
		name   string
		layers []rawLayer
		want   string // "": none
	}{
		{"a file in /etc", []rawLayer{filesOf(file("etc/os-release", debian10)), layer("a")}, "debian 10"},
		{"a link to /usr/lib", []rawLayer{filesOf(file("etc/os-release", "->../usr/lib/os-release"),
			file("usr/lib/os-release", debian10)), layer("a")}, "debian 10"},
		{"a link above the file", []rawLayer{filesOf(file("usr/lib/os-release", debian10)),
			filesOf(file("etc/os-release", "->/usr/lib/os-release"))}, "debian 10"},
		{"in /usr/lib only", []rawLayer{filesOf(file("usr/lib/os-release", debian10))}, "debian 10"},
		{"by another spelling", []rawLayer{filesOf(file("./etc/../etc/os-release", debian10))}, "debian 10"},
		{"/etc before /usr/lib", []rawLayer{filesOf(file("etc/os-release", ubuntu22), file("usr/lib/os-release", debian10))}, "ubuntu 22.04"},
		{"the upper layer's", []rawLayer{filesOf(file("etc/os-release", debian10)), filesOf(file("etc/os-release", ubuntu22))}, "ubuntu 22.04"},
		{"the upper layer's behind a link", []rawLayer{filesOf(file("etc/os-release", "->../usr/lib/os-release"),
			file("usr/lib/os-release", debian10)), filesOf(file("usr/lib/os-release", ubuntu22))}, "ubuntu 22.04"},
		{"the last of a layer", []rawLayer{filesOf(file("etc/os-release", debian10), file("etc/os-release", ubuntu22))}, "ubuntu 22.04"},
		{"removed from /etc", []rawLayer{filesOf(file("etc/os-release", ubuntu22),
			file("usr/lib/os-release", debian10)), filesOf(file("etc/.wh.os-release", ""))}, "debian 10"},
		{"removed", []rawLayer{filesOf(file("etc/os-release", debian10)), filesOf(file("etc/.wh.os-release", ""))}, ""},
		{"removed with its directory", []rawLayer{filesOf(file("usr/lib/os-release", debian10)), filesOf(file("usr/.wh.lib", ""))}, ""},
		{"hidden by an opaque directory", []rawLayer{filesOf(file("etc/os-release", debian10)), filesOf(file("etc/.wh..wh..opq", ""))}, ""},
		{"hidden by an opaque root", []rawLayer{filesOf(file("etc/os-release", debian10)), filesOf(file(".wh..wh..opq", ""))}, ""},
		{"written in an opaque directory", []rawLayer{filesOf(file("etc/os-release", debian10)),
			filesOf(file("etc/.wh..wh..opq", ""), file("etc/os-release", ubuntu22))}, "ubuntu 22.04"},
		{"another file is removed", []rawLayer{filesOf(file("etc/os-release", debian10)),
			filesOf(file("etc/.wh.os-releases", ""), file("usr/.wh.libexec", ""))}, "debian 10"},
		{"in another directory", []rawLayer{filesOf(file("rootfs/etc/os-release", debian10))}, ""},
		{"empty", []rawLayer{filesOf(file("etc/os-release", ""))}, ""},
		{"too large", []rawLayer{filesOf(file("etc/os-release", debian10+strings.Repeat("#", 64<<10)))}, ""},
		{"none", []rawLayer{layer("a")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{Layers: tt.layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{System: true})
			got := ""
			if ev.System != nil {
				got = ev.System.Name()
			}
			if got != tt.want || len(ev.Problems) != 0 {
				t.Errorf("%q, want %q; %+v", got, tt.want, ev.Problems)
			}
			if ev.System != nil && (ev.System.Source != attestor.SystemFromImage || ev.System.Table == "" || ev.System.End == "") {
				t.Errorf("%+v", ev.System)
			}
		})
	}
}

// TestSystemOfLayersThatAreNotTheImage: a layer that does not unpack to its diffID says nothing, and refuses; one that cannot be read is an
// error, and not an image without a system.
func TestSystemOfLayersThatAreNotTheImage(t *testing.T) {
	forged := filesOf(corpus.File{Name: "etc/os-release", Content: ubuntu22}).Forged(sum([]byte("another")))
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{Layers: []rawLayer{forged}})
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{System: true})
	wantCodes(t, ev.Problems, attestor.CodeLayersMismatch)
	if ev.System != nil {
		t.Errorf("a forged layer says %+v", ev.System)
	}

	broken := rawImage{Layers: []rawLayer{{Blob: []byte("no tar at all, and not zero either"), MediaType: corpus.OCILayer}}}
	pushRaw(t, host, "app", "3", broken)
	ev = inspectOne(t, newInspector(t, host, nil), host+"/app:3", attestor.Needs{System: true})
	wantCodes(t, ev.Problems, attestor.CodeSystemUnreadable)
}

// TestSystemCostsNothingUnasked: no layer is read for it unless the policy asks; what is read for a user's name is not read again, and says the
// system as well.
func TestSystemCostsNothingUnasked(t *testing.T) {
	passwd := corpus.File{Name: "etc/passwd", Content: "app:x:1000:1000::/:/bin/sh\n"}
	lower := filesOf(corpus.File{Name: "etc/"}, corpus.File{Name: "etc/os-release", Content: debian10}, passwd)
	upper := layer("a")
	var reads atomic.Int64
	f := &front{}
	host := newRegistry(t, f.wrap)
	pushRaw(t, host, "app", "named", rawImage{User: "app", Layers: []rawLayer{lower, upper}})
	pushRaw(t, host, "app", "numbered", rawImage{Layers: []rawLayer{lower, upper}})
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && (strings.HasSuffix(r.URL.Path, string(sum(lower.Blob))) || strings.HasSuffix(r.URL.Path, string(sum(upper.Blob)))) {
			reads.Add(1)
		}
		return false
	})
	for _, tt := range []struct {
		tag   string
		needs attestor.Needs
		reads int64
		want  bool
	}{
		{"numbered", attestor.Needs{}, 0, false},
		{"numbered", attestor.Needs{ResolveNames: true}, 0, false},
		{"numbered", attestor.Needs{System: true}, 2, true},
		{"named", attestor.Needs{}, 0, false},
		{"named", attestor.Needs{ResolveNames: true}, 2, true},
		{"named", attestor.Needs{ResolveNames: true, System: true}, 2, true},
	} {
		reads.Store(0)
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:"+tt.tag, tt.needs)
		if got := ev.System != nil; got != tt.want || reads.Load() != tt.reads {
			t.Errorf("%s, %+v: system %t, want %t; %d layers read, want %d", tt.tag, tt.needs, got, tt.want, reads.Load(), tt.reads)
		}
	}
}

// TestSystemIsDescribed: with its end and successor by the table, at the time of the inspection.
func TestSystemIsDescribed(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{Layers: []rawLayer{filesOf(corpus.File{Name: "etc/os-release", Content: debian10})}})
	got := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{System: true}).System
	want := &attestor.System{
		ID: "debian", Version: "10", Release: "10", Source: attestor.SystemFromImage, End: "2024-06-30", Successor: "debian 13", Table: got.Table,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
