package verify_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

const (
	root1000 = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000:App:/home/app:/bin/sh\n"
	appRoot  = "app:x:0:0:App:/home/app:/bin/sh\n"
)

func tarLayer(files ...file) rawLayer { return rawLayer{blob: tarOf(files...)} }

func etc(passwd string) []file { return []file{{"etc/", ""}, {"etc/passwd", passwd}} }

// A name is looked up in the file that remains when all layers are unpacked,
// lowest first here. Where runtimes could see another file, it is refused.
func TestResolveNames(t *testing.T) {
	const refused = attestor.CodeUserUnresolved
	good := tarLayer(etc(root1000)...)
	for _, tt := range []struct {
		name   string
		user   string
		layers []rawLayer
		uid    int64
		gid    int64
		code   attestor.Code
	}{
		{name: "in the only layer", layers: []rawLayer{good}, uid: 1000, gid: 2000},
		{name: "group given", user: "app:3000", layers: []rawLayer{good}, uid: 1000, gid: 3000},
		{name: "group given by name", user: "app:staff", layers: []rawLayer{good}, uid: 1000, gid: -1},
		{name: "below other layers", layers: []rawLayer{good, tarLayer(file{"app", "1"}), tarLayer(file{"etc/", ""}, file{"etc/hosts", ""})}, uid: 1000, gid: 2000},
		{name: "gzip", layers: []rawLayer{{blob: gzipped(tarOf(etc(root1000)...)), mediaType: ociLayer + "+gzip"}}, uid: 1000, gid: 2000},
		{name: "zstd", layers: []rawLayer{{blob: zstded(tarOf(etc(root1000)...)), mediaType: ociLayer + "+zstd"}}, uid: 1000, gid: 2000},
		{name: "names with ./ and /", layers: []rawLayer{tarLayer(file{"./etc/", ""}, file{"/etc//./passwd", root1000})}, uid: 1000, gid: 2000},
		{name: "replaced above", layers: []rawLayer{good, tarLayer(etc(strings.Replace(root1000, "1000", "1001", 1))...)}, uid: 1001, gid: 2000},
		{name: "replaced above by root", layers: []rawLayer{good, tarLayer(etc(appRoot)...)}, uid: 0, gid: 0, code: attestor.CodeUserRootDisguised},
		{name: "twice in a layer, the last counts", layers: []rawLayer{tarLayer(append(etc(root1000), etc(appRoot)...)...)}, uid: 0, gid: 0, code: attestor.CodeUserRootDisguised},
		{name: "without its directory, in the lowest layer", layers: []rawLayer{tarLayer(file{"etc/passwd", root1000})}, uid: 1000, gid: 2000},
		{name: "without its directory, which is below", layers: []rawLayer{tarLayer(file{"etc/", ""}), tarLayer(file{"etc/passwd", root1000})}, uid: 1000, gid: 2000},
		{name: "an opaque directory that writes it anew", layers: []rawLayer{tarLayer(etc(appRoot)...), tarLayer(file{"etc/", ""}, file{"etc/.wh..wh..opq", ""}, file{"etc/passwd", root1000})}, uid: 1000, gid: 2000},
		{name: "files of that name elsewhere", layers: []rawLayer{tarLayer(file{"etc/", ""}, file{"etc/passwd", root1000}, file{"usr/", ""}, file{"usr/bin/", ""}, file{"usr/bin/passwd", "elf"}), tarLayer(file{"usr/", ""}, file{"usr/bin/", ""}, file{"usr/bin/passwd", "elf"})}, uid: 1000, gid: 2000},

		{name: "removed", layers: []rawLayer{good, tarLayer(file{"etc/", ""}, file{"etc/.wh.passwd", ""})}, uid: -1, code: refused},
		{name: "removed with /etc", layers: []rawLayer{good, tarLayer(file{".wh.etc", ""})}, uid: -1, code: refused},
		{name: "hidden by an opaque /etc", layers: []rawLayer{good, tarLayer(file{"etc/", ""}, file{"etc/.wh..wh..opq", ""})}, uid: -1, code: refused},
		{name: "hidden by an opaque root", layers: []rawLayer{good, tarLayer(file{".wh..wh..opq", ""})}, uid: -1, code: refused},
		{name: "removed and written in one layer", layers: []rawLayer{good, tarLayer(file{"etc/", ""}, file{"etc/passwd", root1000}, file{"etc/.wh.passwd", ""})}, uid: -1, code: refused},
		{name: "no such file", layers: []rawLayer{tarLayer(file{"app", "1"})}, uid: -1, code: refused},
		{name: "no layers", layers: []rawLayer{}, uid: -1, code: refused},
		{name: "a symlink", layers: []rawLayer{tarLayer(file{"etc/", ""}, file{"etc/passwd", "->../run/passwd"})}, uid: -1, code: refused},
		{name: "a hard link", layers: []rawLayer{tarLayer(file{"etc/", ""}, file{"p", root1000}, file{"etc/passwd", "=>p"})}, uid: -1, code: refused},
		{name: "a directory", layers: []rawLayer{tarLayer(file{"etc/passwd/", ""})}, uid: -1, code: refused},
		{name: "/etc is a link", layers: []rawLayer{tarLayer(file{"etc", "->real"}, file{"real/", ""}, file{"real/passwd", root1000})}, uid: -1, code: refused},
		{name: "/etc is a link below", layers: []rawLayer{tarLayer(file{"real/", ""}, file{"etc", "->real"}), tarLayer(file{"etc/passwd", root1000})}, uid: -1, code: refused},
		{name: "/etc becomes a link above", layers: []rawLayer{good, tarLayer(file{"etc", "->real"})}, uid: -1, code: refused},
		{name: "/etc becomes a link in the same layer", layers: []rawLayer{tarLayer(append(etc(root1000), file{"etc", "->real"})...)}, uid: -1, code: refused},
		{name: "written through a link in the same layer", layers: []rawLayer{good, tarLayer(file{"x", "->etc"}, file{"x/passwd", appRoot})}, uid: -1, code: refused},
		{name: "written through a link in a layer below", layers: []rawLayer{tarLayer(append(etc(root1000), file{"x", "->etc"})...), tarLayer(file{"x/passwd", appRoot})}, uid: -1, code: refused},
		{name: "written through a link to the root", layers: []rawLayer{tarLayer(append(etc(root1000), file{"x", "->."})...), tarLayer(file{"x/etc/passwd", appRoot})}, uid: -1, code: refused},
		{name: "/etc replaced through a link to the root", layers: []rawLayer{tarLayer(append(etc(root1000), file{"x", "->."})...), tarLayer(file{"x/etc", "->y"}, file{"y/", ""}, file{"y/passwd", appRoot})}, uid: -1, code: refused},
		{name: "written where a lower /etc points to", layers: []rawLayer{tarLayer(file{"foo/", ""}, file{"etc", "->foo"}), tarLayer(file{"etc/passwd", root1000}), tarLayer(file{"foo/", ""}, file{"foo/passwd", appRoot})}, uid: -1, code: refused},
		{name: "above the root", layers: []rawLayer{good, tarLayer(file{"../etc/passwd", appRoot})}, uid: 0, gid: 0, code: attestor.CodeUserRootDisguised},

		{name: "name not in it", user: "web", layers: []rawLayer{good}, uid: -1, gid: 0, code: refused},
		{name: "uid 0", layers: []rawLayer{tarLayer(etc(appRoot)...)}, uid: 0, gid: 0, code: attestor.CodeUserRootDisguised},
		{name: "not a tar", layers: []rawLayer{{blob: []byte(strings.Repeat("not a tar ", 100))}}, uid: -1, code: refused},
		{name: "not gzip", layers: []rawLayer{{blob: []byte{0x1f, 0x8b, 0, 0, 0}, mediaType: ociLayer + "+gzip"}}, uid: -1, code: attestor.CodeUserLookupFailed},
		{name: "too large", layers: []rawLayer{tarLayer(etc(root1000 + strings.Repeat("#\n", 1<<20))...)}, uid: -1, code: refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			if tt.user == "" {
				tt.user = "app"
			}
			pushRaw(t, host, "app", "1", rawImage{user: tt.user, layers: tt.layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, ev.Problems, want...)
			if got := value(ev.User.UID); got != tt.uid {
				t.Errorf("uid = %d, want %d", got, tt.uid)
			}
			if tt.uid >= 0 && (value(ev.User.GID) != tt.gid || ev.User.Source != attestor.UserFromPasswd) {
				t.Errorf("user = %+v, gid %d; want gid %d from passwd", ev.User, value(ev.User.GID), tt.gid)
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
	pushRaw(t, host, "app", "1", rawImage{user: "app", layers: []rawLayer{l}})
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
	wantCodes(t, ev.Problems, attestor.CodeUserNotNumeric)
	if !strings.Contains(ev.Problems[0].Fix, "USER 65532:65532") {
		t.Errorf("fix = %q", ev.Problems[0].Fix)
	}
	for _, r := range f.requests() {
		if strings.HasPrefix(r, "GET") && strings.HasSuffix(r, string(sum(l.blob))) {
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
