package corpus

import (
	"slices"
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

// Groups has a group for nobody else's number, one that is root's by another
// name, and one without members.
const Groups = "root:x:0:\napp:x:3000:app,web\nwheel:x:0:web\nstaff:*:50:\n"

// Accounts is /etc with files of users and groups.
func Accounts(passwd, group string) []File { return append(Etc(passwd), File{"etc/group", group}) }

// A NameCase is a user's name, the layers that it is looked up in, and what is
// proven; -1 is nothing.
type NameCase struct {
	Name     string
	User     string // default: app
	Layers   []Layer
	UID, GID int64
	Code     attestor.Code // of what is wrong with the user, or with a layer
	Group    attestor.Code // of what is wrong with the group
	Unread   bool          // a file was not read that says the groups: an error, and no denial
	ByNumber bool          // what the files say of the groups is looked up only where the policy refuses group 0
}

// Names are looked up in the file that remains when all layers are unpacked,
// lowest first here. Where runtimes could see another file, they are refused.
func Names() []NameCase {
	const refused = attestor.CodeUserUnresolved
	good := TarLayer(Etc(Root1000)...)
	return slices.Concat(groupNames(), memberNames(), []NameCase{
		{Name: "in the only layer", Layers: []Layer{good}, UID: 1000, GID: 2000},
		{Name: "group given", User: "app:3000", Layers: []Layer{good}, UID: 1000, GID: 3000},
		{Name: "below other layers", Layers: []Layer{good, TarLayer(File{"app", "1"}),
			TarLayer(File{"etc/", ""}, File{"etc/hosts", ""})}, UID: 1000, GID: 2000},
		{Name: "gzip", Layers: []Layer{good.Gzipped()}, UID: 1000, GID: 2000},
		{Name: "zstd", Layers: []Layer{good.Zstded()}, UID: 1000, GID: 2000},
		{Name: "names with ./ and /", Layers: []Layer{TarLayer(File{"./etc/", ""}, File{"/etc//./passwd", Root1000})},
			UID: 1000, GID: 2000},
		{Name: "replaced above", Layers: []Layer{good, TarLayer(Etc(strings.Replace(Root1000, "1000", "1001", 1))...)},
			UID: 1001, GID: 2000},
		{Name: "replaced above by root", Layers: []Layer{good, TarLayer(Etc(appRoot)...)}, UID: 0, GID: 0,
			Code: attestor.CodeUserRootDisguised},
		{Name: "twice in a layer, the last counts",
			Layers: []Layer{TarLayer(append(Etc(Root1000), Etc(appRoot)...)...)},
			UID:    0, GID: 0, Code: attestor.CodeUserRootDisguised},
		{Name: "without its directory, in the lowest layer", Layers: []Layer{TarLayer(File{"etc/passwd", Root1000})},
			UID: 1000, GID: 2000},
		{Name: "without its directory, which is below", Layers: []Layer{TarLayer(File{"etc/", ""}),
			TarLayer(File{"etc/passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "an opaque directory that writes it anew", Layers: []Layer{TarLayer(Etc(appRoot)...), TarLayer(File{
			"etc/", ""}, File{"etc/.wh..wh..opq", ""}, File{"etc/passwd", Root1000})}, UID: 1000, GID: 2000},
		{Name: "files of that name elsewhere", Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/passwd", Root1000},
			File{"usr/", ""}, File{"usr/bin/", ""}, File{"usr/bin/passwd", "elf"}), TarLayer(File{"usr/", ""},
			File{"usr/bin/", ""}, File{"usr/bin/passwd", "elf"})}, UID: 1000, GID: 2000},

		{Name: "removed", Layers: []Layer{good, TarLayer(File{"etc/", ""}, File{"etc/.wh.passwd", ""})},
			UID: -1, Code: refused},
		{Name: "removed with /etc", Layers: []Layer{good, TarLayer(File{".wh.etc", ""})}, UID: -1, Code: refused},
		{Name: "hidden by an opaque /etc",
			Layers: []Layer{good, TarLayer(File{"etc/", ""}, File{"etc/.wh..wh..opq", ""})}, UID: -1, Code: refused},
		{Name: "hidden by an opaque root", Layers: []Layer{good, TarLayer(File{".wh..wh..opq", ""})},
			UID: -1, Code: refused},
		{Name: "another directory shown as /etc by an attribute", Layers: []Layer{
			TarLayer(append(Etc(Root1000), File{"real/", ""}, File{"real/passwd", appRoot})...),
			TarLayer(File{"etc/", "trusted.overlay.redirect=/real"})}, UID: -1, Code: refused},
		{Name: "hidden by an attribute of /etc", Layers: []Layer{good, TarLayer(File{"etc/", "user.overlay.opaque=y"})},
			UID: -1, Code: refused},
		{Name: "attributes that hide nothing", Layers: []Layer{good, TarLayer(File{"etc/", "user.overlay.impure=y"}),
			TarLayer(File{"etc/", "user.overlays=1"}), TarLayer(File{"etc/", "trusted.overlay.origin=0"})},
			UID: 1000, GID: 2000},
		{Name: "removed and written in one layer", Layers: []Layer{good, TarLayer(File{"etc/", ""},
			File{"etc/passwd", Root1000}, File{"etc/.wh.passwd", ""})}, UID: -1, Code: refused},
		{Name: "no such file", Layers: []Layer{TarLayer(File{"app", "1"})}, UID: -1, Code: refused},
		{Name: "no layers", Layers: []Layer{}, UID: -1, Code: refused},
		{Name: "a symlink", Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/passwd", "->../run/passwd"})},
			UID: -1, Code: refused},
		{Name: "a hard link",
			Layers: []Layer{TarLayer(File{"etc/", ""}, File{"p", Root1000}, File{"etc/passwd", "=>p"})},
			UID:    -1, Code: refused},
		{Name: "a directory", Layers: []Layer{TarLayer(File{"etc/passwd/", ""})}, UID: -1, Code: refused},
		{Name: "/etc is a link",
			Layers: []Layer{TarLayer(File{"etc", "->real"}, File{"real/", ""}, File{"real/passwd", Root1000})},
			UID:    -1, Code: refused},
		{Name: "/etc is a link below", Layers: []Layer{TarLayer(File{"real/", ""}, File{"etc", "->real"}),
			TarLayer(File{"etc/passwd", Root1000})}, UID: -1, Code: refused},
		{Name: "/etc becomes a link above", Layers: []Layer{good, TarLayer(File{"etc", "->real"})},
			UID: -1, Code: refused},
		{Name: "/etc becomes a link in the same layer",
			Layers: []Layer{TarLayer(append(Etc(Root1000), File{"etc", "->real"})...)}, UID: -1, Code: refused},
		{Name: "written through a link in the same layer",
			Layers: []Layer{good, TarLayer(File{"x", "->etc"}, File{"x/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written through a link in a layer below", Layers: []Layer{TarLayer(append(Etc(Root1000),
			File{"x", "->etc"})...), TarLayer(File{"x/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written through a link to the root", Layers: []Layer{TarLayer(append(Etc(Root1000),
			File{"x", "->."})...), TarLayer(File{"x/etc/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "/etc replaced through a link to the root",
			Layers: []Layer{TarLayer(append(Etc(Root1000), File{"x", "->."})...),
				TarLayer(File{"x/etc", "->y"}, File{"y/", ""}, File{"y/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "written where a lower /etc points to",
			Layers: []Layer{TarLayer(File{"foo/", ""}, File{"etc", "->foo"}), TarLayer(File{"etc/passwd", Root1000}),
				TarLayer(File{"foo/", ""}, File{"foo/passwd", appRoot})}, UID: -1, Code: refused},
		{Name: "above the root", Layers: []Layer{good, TarLayer(File{"../etc/passwd", appRoot})}, UID: 0, GID: 0,
			Code: attestor.CodeUserRootDisguised},

		{Name: "name not in it", User: "web", Layers: []Layer{good}, UID: -1, GID: 0, Code: refused},
		{Name: "uid 0", Layers: []Layer{TarLayer(Etc(appRoot)...)}, UID: 0, GID: 0,
			Code: attestor.CodeUserRootDisguised},
		{Name: "not a tar", Layers: []Layer{{Blob: []byte(strings.Repeat("not a tar ", 100))}}, UID: -1, Code: refused},
		{Name: "not gzip", Layers: []Layer{{Blob: []byte{0x1f, 0x8b, 0, 0, 0}, MediaType: OCILayer + "+gzip"}}, UID: -1,
			Code: attestor.CodeLayerContradictory},
		{Name: "too large", Layers: []Layer{TarLayer(Etc(Root1000 + strings.Repeat("#\n", 1<<20))...)}, UID: -1,
			Code: attestor.CodeUserLookupFailed},

		{Name: "written through a hard link to a link in the same layer", Layers: []Layer{
			TarLayer(append(Etc(Root1000), File{"x", "->etc"}, File{"y", "=>x"}, File{"y/passwd", appRoot})...)},
			UID: -1, Code: refused},
		{Name: "written through a link, beside a path without its directories",
			Layers: []Layer{TarLayer(append(Etc(Root1000), File{"a/passwd", ""}, File{"x", "->etc"},
				File{"x/passwd", appRoot})...)}, UID: -1, Code: refused},
		{Name: "written through a link that becomes a directory",
			Layers: []Layer{TarLayer(append(Etc(Root1000), File{"x", "->etc"})...),
				TarLayer(File{"x/passwd", appRoot}, File{"x/", ""})}, UID: -1, Code: refused},
		{Name: "through an /etc that becomes a directory after it",
			Layers: []Layer{TarLayer(File{"real/", ""}, File{"etc", "->real"}),
				TarLayer(File{"etc/passwd", Root1000}, File{"etc/", ""})}, UID: -1, Code: refused},
		{Name: "written where a lower /etc points to, with a whiteout between",
			Layers: []Layer{TarLayer(File{"real/", ""}, File{"etc", "->real"}), TarLayer(File{"etc/.wh.passwd", ""}),
				TarLayer(File{"etc/passwd", Root1000}), TarLayer(File{"real/", ""}, File{"real/passwd", appRoot})},
			UID: -1, Code: refused},
		{Name: "/etc replaced through a link below the layer that writes it", UID: -1, Code: refused,
			Layers: []Layer{TarLayer(File{"etc/", ""}, File{"real/", ""}, File{"x", "->."}),
				TarLayer(File{"x/etc", "->real"}), TarLayer(File{"etc/passwd", Root1000}),
				TarLayer(File{"real/", ""}, File{"real/passwd", appRoot})}},
		{Name: "a link, replaced above together with /etc", Layers: []Layer{
			TarLayer(File{"etc/", ""}, File{"etc/passwd", "->../run/passwd"}), good}, UID: 1000, GID: 2000},
		{Name: "the root is a link", Layers: []Layer{TarLayer(append(Etc(Root1000), File{"./", ""})...),
			TarLayer(File{".", "->etc"})}, UID: -1, Code: refused},
	})
}

// groupNames are groups by name, after users by name and by number. What cannot
// be resolved is said to be that, and not to be group 0.
func groupNames() []NameCase {
	const unresolved = attestor.CodeGroupUnresolved
	with := func(group string) []Layer { return []Layer{TarLayer(Accounts(Root1000, group)...)} }
	good := with(Groups)
	return []NameCase{
		{Name: "user and group", User: "app:app", Layers: good, UID: 1000, GID: 3000},
		{Name: "a numeric user and a group", User: "1000:app", Layers: good, UID: 1000, GID: 3000},
		{Name: "a group without members", User: "app:staff", Layers: good, UID: 1000, GID: 50},
		{Name: "a numeric group, without /etc/group", User: "app:50", Layers: []Layer{TarLayer(Etc(Root1000)...)},
			UID: 1000, GID: 50},
		{Name: "no group, and one by the user's name", Layers: good, UID: 1000, GID: 2000},
		{Name: "no group, and 0 in passwd", Layers: []Layer{TarLayer(Etc("app:x:1000:0::/:/bin/sh\n")...)}, UID: 1000,
			GID: 0, Group: attestor.CodeGroupRoot},
		{Name: "root's group by another name", User: "app:wheel", Layers: good, UID: 1000, GID: 0,
			Group: attestor.CodeGroupRoot},
		{Name: "a numeric user and root's group by another name", User: "1000:wheel", Layers: good, UID: 1000, GID: 0,
			Group: attestor.CodeGroupRoot},
		{Name: "root's group", User: "1000:root", Layers: []Layer{TarLayer(File{"a", ""})}, UID: 1000, GID: 0,
			Group: attestor.CodeGroupRoot},
		{Name: "groups in another layer than users", User: "app:app", UID: 1000, GID: 3000,
			Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/group", Groups}), TarLayer(Etc(Root1000)...)}},
		{Name: "groups replaced above", User: "1000:app", UID: 1000, GID: 0, Group: attestor.CodeGroupRoot,
			Layers: []Layer{good[0], TarLayer(File{"etc/", ""}, File{"etc/group", "app:x:0:\n"})}},
		{Name: "comments, and malformed lines of others", User: "1000:app",
			Layers: with("# app:x:0:\n\nbad\napp:x:7:\n"), UID: 1000, GID: 7},

		{Name: "a member of root's group", Layers: with("root:x:0:app\n"), UID: 1000, GID: 2000,
			Group: attestor.CodeGroupRoot},
		{Name: "a member of root's group beside others", Layers: with("a:x:7:app\nwheel:x:0:web, app \n"), UID: 1000,
			GID: 2000, Group: attestor.CodeGroupRoot},
		{Name: "a member of root's group, with a group", User: "app:app", Layers: with(Groups + "sys:x:0:app\n"),
			UID: 1000, GID: 3000, Group: attestor.CodeGroupRoot},
		{Name: "a member of root's group, with a numeric group", User: "app:50", Layers: with("root:x:0:app\n"),
			UID: 1000, GID: 50, Group: attestor.CodeGroupRoot},
		{Name: "a member of a group whose gid is no number", Layers: with("app:x:2000:\nbad:x:zero:app\n"), UID: 1000,
			GID: 2000, Group: unresolved},
		{Name: "a member of another group", Layers: with("root:x:0:\nstaff:x:50:app\n"), UID: 1000, GID: 2000},
		{Name: "a member of root's group by a longer name", Layers: with("root:x:0:application,my-app\n"), UID: 1000,
			GID: 2000},
		{Name: "a malformed line that lists nobody", Layers: with("root:x:0\nbad\n"), UID: 1000, GID: 2000},
		{Name: "a member, and the groups are a link", Layers: []Layer{TarLayer(append(Etc(Root1000),
			File{"etc/group", "->passwd"})...)}, UID: 1000, GID: 2000, Group: unresolved},
		{Name: "a member, and the groups are removed", Layers: append(with("root:x:0:app\n"),
			TarLayer(File{"etc/", ""}, File{"etc/.wh.group", ""})), UID: 1000, GID: 2000},

		{Name: "a group that is not there", User: "app:web", Layers: good, UID: 1000, GID: -1, Group: unresolved},
		{Name: "a numeric user and a group that is not there", User: "1000:nogroup", Layers: good, UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "no /etc/group", User: "1000:app", Layers: []Layer{TarLayer(Etc(Root1000)...)}, UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "a group twice", User: "1000:app", Layers: with("app:x:1:\napp:x:0:\n"), UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "a group of five fields", User: "1000:app", Layers: with("app:x:1:a:b\n"), UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "a group of a name alone", User: "1000:app", Layers: with("app\n"), UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "a gid that is no number", User: "1000:app", Layers: with("app:x:abc:\n"), UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "a gid that wraps to root", User: "1000:app", Layers: with("app:x:4294967296:\n"), UID: 1000, GID: -1,
			Group: unresolved},
		{Name: "groups removed", User: "1000:app", Layers: append(with(Groups),
			TarLayer(File{"etc/", ""}, File{"etc/.wh.group", ""})), UID: 1000, GID: -1, Group: unresolved},
		{Name: "groups that are a link", User: "1000:app", Layers: []Layer{TarLayer(append(Etc(Root1000),
			File{"etc/group", "->passwd"})...)}, UID: 1000, GID: -1, Group: unresolved},
		{Name: "groups through a link below", User: "1000:app", UID: 1000, GID: -1, Group: unresolved,
			Layers: []Layer{TarLayer(append(Accounts(Root1000, Groups), File{"x", "->etc"})...),
				TarLayer(File{"x/group", "app:x:0:\n"})}},
		{Name: "groups too large", User: "1000:app", Layers: with(Groups + strings.Repeat("#\n", 1<<20)), UID: 1000,
			GID: -1, Group: unresolved, Unread: true},
		{Name: "a user that is not there, with a group", User: "web:app", Layers: good, UID: -1, GID: -1,
			Code: attestor.CodeUserUnresolved},
		{Name: "uid 0, with a group", User: "app:app", Layers: []Layer{TarLayer(Accounts(appRoot, Groups)...)},
			UID: 0, GID: 3000, Code: attestor.CodeUserRootDisguised},
		{Name: "a group in a layer that is not what its diffID says", User: "1000:app", UID: 1000, GID: -1,
			Code:   attestor.CodeLayersMismatch,
			Layers: []Layer{TarLayer(Accounts(Root1000, Groups)...).Gzipped().Forged(Sum([]byte("other")))}},
	}
}

// strictGroups is resolveNames for cases that are about groups.
const strictGroups = `
  base: {required: false}
  user: {nonRoot: true, names: resolve, rootGroup: deny}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

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
		arrange := func(p *Place) { p.Push(Image{User: tt.User, Layers: tt.Layers}) }
		want := judged(some(tt.Code)...)
		if !tt.ByNumber {
			want.Advice = some(tt.Group)
		}
		out = append(out, Case{Name: "names/" + tt.Name, Policy: resolveNames, Want: want, Arrange: arrange})
		if (tt.Group != "" || tt.ByNumber) && tt.Code == "" {
			want := denied(tt.Group)
			switch {
			case tt.Group == "":
				want = admitted()
			case tt.Unread:
				want = undecided(tt.Group)
			}
			out = append(out, Case{Name: "names/" + tt.Name + ", where the policy refuses group 0",
				Policy: strictGroups, Want: want, Arrange: arrange})
		}
	}

	const refusedGroup = ", where the policy refuses group 0"
	return append(out, Case{Name: "names/a member of another group" + refusedGroup, Policy: strictGroups, Want: admitted(),
		Mends: "names/a member of root's group" + refusedGroup, Arrange: func(p *Place) {
			layer := TarLayer(Accounts(Root1000, "root:x:0:\nstaff:x:50:app\n")...)
			p.Push(Image{User: "app", Layers: []Layer{layer}})
		}},
		ofNumber("a number of a member of root's group", "1000:1000", "root:x:0:app\n", denied(attestor.CodeGroupRoot), ""),
		ofNumber("a number of a member of another group", "1000:1000", "root:x:0:\nstaff:x:50:app\n", admitted(),
			"a number of a member of root's group"),
		ofNumber("a number with a group by name", "1000:staff", "root:x:0:\nstaff:x:50:\n",
			denied(attestor.CodeGroupUnresolved), ""))
}

// ofNumber is a user by number, judged by a policy that refuses names and group 0: runtimes add the groups of the image's
// files to the user all the same.
func ofNumber(name, user, groups string, want Want, mends string) Case {
	const refused = ", where the policy refuses names and group 0"
	if mends != "" {
		mends = "names/" + mends + refused
	}
	return Case{Name: "names/" + name + refused, Policy: strictNumbers, Want: want, Mends: mends, Arrange: func(p *Place) {
		p.Push(Image{User: user, Layers: []Layer{TarLayer(Accounts(Root1000, groups)...)}})
	}}
}

const strictNumbers = `
  base: {required: false}
  user: {nonRoot: true, names: refuse, rootGroup: deny}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
