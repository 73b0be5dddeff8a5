package verify_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

const (
	root1000 = corpus.Root1000
	appRoot  = "app:x:0:0:App:/home/app:/bin/sh\n"
)

func tarLayer(files ...file) rawLayer { return rawLayer{Blob: tarOf(files...)} }

func etc(passwd string) []file { return []file{{"etc/", ""}, {"etc/passwd", passwd}} }

// A name is looked up in the file that remains when all layers are unpacked,
// lowest first here. Where runtimes could see another file, it is refused.
func TestResolveNames(t *testing.T) {
	for _, tt := range corpus.Names() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			if tt.User == "" {
				tt.User = "app"
			}
			pushRaw(t, host, "app", "1", rawImage{User: tt.User, Layers: tt.Layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			var want []attestor.Code
			if tt.Code != "" {
				want = append(want, tt.Code)
			}
			wantCodes(t, ev.Problems, want...)
			if got := value(ev.User.UID); got != tt.UID {
				t.Errorf("uid = %d, want %d", got, tt.UID)
			}
			if tt.UID >= 0 && (value(ev.User.GID) != tt.GID || ev.User.Source != attestor.UserFromPasswd) {
				t.Errorf("user = %+v, gid %d; want gid %d from passwd", ev.User, value(ev.User.GID), tt.GID)
			}
			for _, p := range ev.Problems {
				if p.Check != attestor.CheckUser || p.Fix == "" {
					t.Errorf("problem = %+v", p)
				}
			}
		})
	}
}

// Layers are not touched unless the policy asks for names.
func TestNamesAreRefusedByDefault(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	l := tarLayer(etc(root1000)...)
	pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{l}})
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
	wantCodes(t, ev.Problems, attestor.CodeUserNotNumeric)
	if !strings.Contains(ev.Problems[0].Fix, "USER 65532:65532") {
		t.Errorf("fix = %q", ev.Problems[0].Fix)
	}
	for _, r := range f.requests() {
		if strings.HasPrefix(r, "GET") && strings.HasSuffix(r, string(sum(l.Blob))) {
			t.Error("a layer was read")
		}
	}
}

func TestParsePasswd(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		uid           int64 // -1: refused
	}{
		{"plain", "app:x:1000:1000::/:/bin/sh", 1000},
		{"among others", root1000, 1000},
		{"largest", "app:x:2147483647:1::/:", 2147483647},
		{"root", "app:x:0:0::/:", 0},
		{"comments, empty and malformed lines of others", "# app\n\nbad\nfoo:x\napp:x:7:7::/:\n+::::::\n", 7},
		{"a uid that is no number reads as root", "app:x:abc:1::/:", -1},
		{"a short line reads as root", "app:x", -1},
		{"no uid", "app:x::1::/:", -1},
		{"eight fields", "app:x:1:1:::/:/", -1},
		{"a uid that wraps to root", "app:x:4294967296:1::/:", -1},
		{"a negative uid", "app:x:-1:1::/:", -1},
		{"a signed uid", "app:x:+1:1::/:", -1},
		{"a leading zero", "app:x:01:1::/:", -1},
		{"a space in the uid", "app:x: 1:1::/:", -1},
		{"a gid that is no number", "app:x:1:g::/:", -1},
		{"twice", "app:x:1:1::/:\napp:x:2:2::/:", -1},
		{"twice, once with a space before it", " app:x:0:0::/:\napp:x:1:1::/:", -1},
		{"with a space before it", " app:x:1:1::/:", -1},
		{"with a tab after the name", "app\t:x:1:1::/:", -1},
		{"carriage returns", "app:x:1:1::/:\r\n", -1},
		{"NUL", "app:x:1:1::/:\x00", -1},
		{"an endless line", strings.Repeat("x", 5000) + "\napp:x:1:1::/:", -1},
		{"empty", "", -1},
		{"not there", "web:x:1:1::/:", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uid, _, err := verify.ParsePasswd([]byte(tt.content), "app")
			if err != nil {
				uid = -1
			}
			if uid != tt.uid {
				t.Errorf("uid = %d, %v; want %d", uid, err, tt.uid)
			}
		})
	}
}
