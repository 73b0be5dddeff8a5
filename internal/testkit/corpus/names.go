package corpus

import (
	"strings"

	"github.com/attestor-gate/attestor"
)

// Two files of users.
const (
	Root1000 = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000:App:/home/app:/bin/sh\n"
	appRoot  = "app:x:0:0:App:/home/app:/bin/sh\n"
)

// Etc is /etc with a file of users.
func Etc(passwd string) []File { return []File{{"etc/", ""}, {"etc/passwd", passwd}} }

// A NameCase is a user's name, the layers that it is looked up in, and what is
// proven; -1 is nothing.
type NameCase struct {
	Name     string
	User     string // default: app
	Layers   []Layer
	UID, GID int64
	Code     attestor.Code
}

// Names are looked up in the file that remains when all layers are unpacked,
// lowest first here. Where runtimes could see another file, they are refused.
func Names() []NameCase {
	const refused = attestor.CodeUserUnresolved
	good := TarLayer(Etc(Root1000)...)
	return []NameCase{
		{Name: "in the only layer", Layers: []Layer{good}, UID: 1000, GID: 2000},
		{Name: "group given", User: "app:3000", Layers: []Layer{good}, UID: 1000, GID: 3000},
		{Name: "group given by name", User: "app:staff", Layers: []Layer{good}, UID: 1000, GID: -1},
		{Name: "below other layers", Layers: []Layer{good, TarLayer(File{"app", "1"}), TarLayer(File{"etc/", ""}, File{"etc/hosts", ""})}, UID: 1000, GID: 2000},
		{Name: "gzip", Layers: []Layer{{Blob: Gzip(Tar(Etc(Root1000)...)), MediaType: OCILayer + "+gzip"}}, UID: 1000, GID: 2000},
		{Name: "zstd", Layers: []Layer{{Blob: Zstd(Tar(Etc(Root1000)...)), MediaType: OCILayer + "+zstd"}}, UID: 1000, GID: 2000},
		{Name: "names with ./ and /", Layers: []Layer{TarLayer(File{"./etc/", ""}, File{"/etc//./passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "replaced above", Layers: []Layer{good, TarLayer(Etc(strings.Replace(Root1000, "1000", "1001", 1))...)}, UID: 1001, GID: 2000},
		{Name: "replaced above by root", Layers: []Layer{good, TarLayer(Etc(appRoot)...)}, UID: 0, GID: 0, Code: attestor.CodeUserRootDisguised},
		{Name: "twice in a layer, the last counts", Layers: []Layer{TarLayer(append(Etc(Root1000), Etc(appRoot)...)...)}, UID: 0, GID: 0, Code: attestor.CodeUserRootDisguised},
		{Name: "without its directory, in the lowest layer", Layers: []Layer{TarLayer(File{"etc/passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "without its directory, which is below", Layers: []Layer{TarLayer(File{"etc/", ""}), TarLayer(File{"etc/passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "an opaque directory that writes it anew", Layers: []Layer{TarLayer(Etc(appRoot)...), TarLayer(File{"etc/", ""}, File{"etc/.wh..wh..opq", ""}, File{"etc/passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "files of that name elsewhere", Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/passwd", Root1000}, File{"usr/", ""}, File{"usr/bin/", ""}, File{"usr/bin/passwd", "elf"}), TarLayer(File{"usr/", ""}, File{"usr/bin/", ""}, File{"usr/bin/passwd", "elf"})}, UID: 1000, GID: 2000},

		{Name: "removed", Layers: []Layer{good, TarLayer(File{"etc/", ""}, File{"etc/.wh.passwd", ""})}, UID: -1, Code: refused},
		{Name: "removed with /etc", Layers: []Layer{good, TarLayer(File{".wh.etc", ""})}, UID: -1, Code: refused},
		{Name: "hidden by an opaque /etc", Layers: []Layer{good, TarLayer(File{"etc/", ""}, File{"etc/.wh..wh..opq", ""})}, UID: -1, Code: refused},
		{Name: "hidden by an opaque root", Layers: []Layer{good, TarLayer(File{".wh..wh..opq", ""})}, UID: -1, Code: refused},
		{Name: "removed and written in one layer", Layers: []Layer{good, TarLayer(File{"etc/", ""}, File{"etc/passwd", Root1000}, File{"etc/.wh.passwd", ""})}, UID: -1, Code: refused},
		{Name: "no such file", Layers: []Layer{TarLayer(File{"app", "1"})}, UID: -1, Code: refused},
		{Name: "no layers", Layers: []Layer{}, UID: -1, Code: refused},
		{Name: "a symlink", Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/passwd", "->../run/passwd"})}, UID: -1, Code: refused},
		{Name: "a hard link", Layers: []Layer{TarLayer(File{"etc/", ""}, File{"p", Root1000}, File{"etc/passwd", "=>p"})}, UID: -1, Code: refused},
		{Name: "a directory", Layers: []Layer{TarLayer(File{"etc/passwd/", ""})}, UID: -1, Code: refused},
		{Name: "/etc is a link", Layers: []Layer{TarLayer(File{"etc", "->real"}, File{"real/", ""}, File{"real/passwd", Root1000})}, UID: -1, Code: refused},
		{Name: "/etc is a link below", Layers: []Layer{TarLayer(File{"real/", ""}, File{"etc", "->real"}), TarLayer(File{"etc/passwd", Root1000})}, UID: -1, Code: refused},
		{Name: "/etc becomes a link above", Layers: []Layer{good, TarLayer(File{"etc", "->real"})}, UID: -1, Code: refused},
		{Name: "/etc becomes a link in the same layer", Layers: []Layer{TarLayer(append(Etc(Root1000), File{"etc", "->real"})...)}, UID: -1, Code: refused},
		{Name: "written through a link in the same layer", Layers: []Layer{good, TarLayer(File{"x", "->etc"}, File{"x/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written through a link in a layer below", Layers: []Layer{TarLayer(append(Etc(Root1000), File{"x", "->etc"})...), TarLayer(File{"x/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written through a link to the root", Layers: []Layer{TarLayer(append(Etc(Root1000), File{"x", "->."})...), TarLayer(File{"x/etc/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "/etc replaced through a link to the root", Layers: []Layer{TarLayer(append(Etc(Root1000), File{"x", "->."})...), TarLayer(File{"x/etc", "->y"}, File{"y/", ""}, File{"y/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written where a lower /etc points to", Layers: []Layer{TarLayer(File{"foo/", ""}, File{"etc", "->foo"}), TarLayer(File{"etc/passwd", Root1000}), TarLayer(File{"foo/", ""}, File{"foo/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "above the root", Layers: []Layer{good, TarLayer(File{"../etc/passwd", appRoot})}, UID: 0, GID: 0, Code: attestor.CodeUserRootDisguised},

		{Name: "name not in it", User: "web", Layers: []Layer{good}, UID: -1, GID: 0, Code: refused},
		{Name: "uid 0", Layers: []Layer{TarLayer(Etc(appRoot)...)}, UID: 0, GID: 0, Code: attestor.CodeUserRootDisguised},
		{Name: "not a tar", Layers: []Layer{{Blob: []byte(strings.Repeat("not a tar ", 100))}}, UID: -1, Code: refused},
		{Name: "not gzip", Layers: []Layer{{Blob: []byte{0x1f, 0x8b, 0, 0, 0}, MediaType: OCILayer + "+gzip"}}, UID: -1, Code: attestor.CodeUserLookupFailed},
		{Name: "too large", Layers: []Layer{TarLayer(Etc(Root1000 + strings.Repeat("#\n", 1<<20))...)}, UID: -1, Code: refused},
	}
}

const resolveNames = `
  base: {required: false}
  user: {nonRoot: true, names: resolve}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

func names() []Case {
	var out []Case
	for _, tt := range Names() {
		if tt.User == "" {
			tt.User = "app"
		}
		out = append(out, Case{Name: "names/" + tt.Name, Policy: resolveNames, Want: judged(some(tt.Code)...), Arrange: func(p *Place) {
			p.Push(Image{User: tt.User, Layers: tt.Layers})
		}})
	}
	return out
}
