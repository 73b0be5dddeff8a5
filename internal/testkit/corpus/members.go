package corpus

import (
	"strings"

	"github.com/attestor-gate/attestor"
)

// memberNames are users by number whose further groups the image's files say: those of the user who has the number in
// /etc/passwd. They are looked up only where the policy refuses group 0.
func memberNames() []NameCase {
	const unresolved, zero = attestor.CodeGroupUnresolved, attestor.CodeGroupRoot
	const member = "root:x:0:app\nstaff:x:50:\n"
	with := func(passwd, group string) []Layer { return []Layer{TarLayer(Accounts(passwd, group)...)} }
	above := func(files ...File) []Layer { return append(with(Root1000, member), TarLayer(files...)) }
	below := func(files ...File) []Layer {
		return append(with(Root1000, "root:x:0:\n"), TarLayer(append([]File{{"etc/", ""}}, files...)...))
	}

	cases := []NameCase{
		{Name: "a number of a member of root's group", Layers: with(Root1000, member), Group: zero},
		{Name: "a number of a member of root's group, with a group", User: "1000:staff", Layers: with(Root1000, member),
			GID: 50, Group: zero},
		{Name: "a number of a member of root's group by another name", Layers: with(Root1000, "wheel:x:0:web, app \n"),
			Group: zero},
		{Name: "a number that is written in another way in passwd", Group: zero,
			Layers: with("app:x:+01000:1::/:/bin/sh\n", member)},
		{Name: "a number in a short line of passwd", Layers: with("app:x: 1000\n", member), Group: zero},
		{Name: "a number of two users, of whom the second is a member", Group: zero,
			Layers: with("web:x:1000:1::/:/bin/sh\n"+Root1000, member)},
		{Name: "a number, and the groups are written above", Group: zero,
			Layers: below(File{"etc/group", member})},
		{Name: "a number, and a group whose gid is no number", Layers: with(Root1000, "bad:x:zero:app\n"),
			Group: unresolved},
		{Name: "a number, and the users are a link", Group: unresolved, Layers: []Layer{TarLayer(File{"etc/", ""},
			File{"etc/passwd", "->../run/passwd"}, File{"etc/group", member})}},
		{Name: "a number, and the groups become a link above", Group: unresolved,
			Layers: below(File{"etc/group", "->passwd"})},
		{Name: "a number, and users too large", Layers: with(Root1000+strings.Repeat("#\n", 1<<20), member),
			Group: unresolved, Unread: true},

		{Name: "a number of a member of another group", Layers: with(Root1000, "root:x:0:\nstaff:x:50:app\n")},
		{Name: "a number without a user", User: "4000:4000", Layers: with(Root1000, "root:x:0:app,4000\n"), UID: 4000,
			GID: 4000},
		{Name: "a number that is a member's own name", Layers: with(Root1000, "root:x:0:1000\n")},
		{Name: "a user without a name", Layers: with(":x:1000:1::/:\n", "root:x:0:\n")},
		{Name: "a number, without a file of users",
			Layers: []Layer{TarLayer(File{"etc/", ""}, File{"etc/group", member})}},
		{Name: "a number, without a file of groups", Layers: []Layer{TarLayer(Etc(Root1000)...)}},
		{Name: "a number, and the users are removed", Layers: above(File{"etc/", ""}, File{"etc/.wh.passwd", ""})},
		{Name: "a number, and the groups are removed", Layers: above(File{"etc/", ""}, File{"etc/.wh.group", ""})},
		{Name: "a number, and /etc is removed", Layers: above(File{".wh.etc", ""})},
		{Name: "a number, and /etc is hidden", Layers: above(File{"etc/", ""}, File{"etc/.wh..wh..opq", ""})},
		{Name: "a number, and other groups are written above",
			Layers: above(File{"etc/", ""}, File{"etc/group", "root:x:0:\n"})},
	}
	for n := range cases {
		c := &cases[n]
		c.ByNumber = true
		if c.User == "" {
			c.User = "1000:1000"
		}
		if c.UID == 0 {
			c.UID = 1000
		}
		if c.GID == 0 {
			c.GID = 1000
		}
	}

	// A gid of 0 needs no look-up, and groups of a user by name are looked up for every policy that resolves names.
	return append(cases, []NameCase{
		{Name: "a number alone", User: "1000", Layers: with(Root1000, "root:x:0:\n"), UID: 1000, Group: zero},
		{Name: "a number and group 0", User: "1000:0", Layers: with(Root1000, "root:x:0:\n"), UID: 1000, Group: zero},
		{Name: "a user and root's group", User: "app:root", Layers: with(Root1000, "root:x:0:\n"), UID: 1000, Group: zero},
		{Name: "a user and group 0", User: "app:0", Layers: with(Root1000, "root:x:0:\n"), UID: 1000, Group: zero},
		{Name: "a user whose number another has, who is a member of root's group", UID: 1000, GID: 2000, Group: zero,
			Layers: with("web:x:1000:1::/:/bin/sh\n"+Root1000, "root:x:0:web\n")},
		{Name: "a user whose number nobody else has", UID: 1000, GID: 2000,
			Layers: with("web:x:1001:1::/:/bin/sh\n"+Root1000, "root:x:0:web\n")},
	}...)
}
