package corpus

import (
	"fmt"

	"github.com/attestor-gate/attestor"
)

// A UserCase is a value of USER, and what is proven of it; -1 is nothing.
type UserCase struct {
	Configured string
	UID, GID   int64
	Code       attestor.Code // what is wrong with it as such; root by its plain name is a policy's to judge
}

const none, noGID = -1, -1

// PlainUsers are read alike by everybody.
func PlainUsers() []UserCase {
	return []UserCase{
		{"65532:65532", 65532, 65532, ""},
		{"65532", 65532, 0, ""},
		{"1", 1, 0, ""},
		{"1000:0", 1000, 0, ""},
		{"1000:root", 1000, 0, ""},
		{"1000:staff", 1000, noGID, ""},
		{"2147483647:2147483647", 2147483647, 2147483647, ""},

		{"", 0, 0, ""},
		{"0", 0, 0, ""},
		{"0:0", 0, 0, ""},
		{"0:1000", 0, 1000, ""},
		{"root", 0, 0, ""},
		{"root:root", 0, 0, ""},
		{"root:1000", 0, 1000, ""},
	}
}

// DisguisedRoots are root for some runtime.
func DisguisedRoots() []UserCase {
	return []UserCase{
		{"00", 0, 0, attestor.CodeUserRootDisguised},
		{"000:1000", 0, 1000, attestor.CodeUserRootDisguised},
		{"+0", 0, 0, attestor.CodeUserRootDisguised},
		{"-0", 0, 0, attestor.CodeUserRootDisguised},
		{":", 0, noGID, attestor.CodeUserRootDisguised},
		{":0", 0, 0, attestor.CodeUserRootDisguised},
		{":1000", 0, 1000, attestor.CodeUserRootDisguised},
		{"0:", 0, noGID, attestor.CodeUserRootDisguised},
		{"root:", 0, noGID, attestor.CodeUserRootDisguised},
		{"0:1:2", 0, noGID, attestor.CodeUserRootDisguised},
		{"4294967296", 0, 0, attestor.CodeUserRootDisguised},
		{"8589934592:1000", 0, 1000, attestor.CodeUserRootDisguised},
		{"-4294967296", 0, 0, attestor.CodeUserRootDisguised},
	}
}

// RefusedUsers prove nothing.
func RefusedUsers() []UserCase {
	return []UserCase{
		{"2147483648", none, 0, attestor.CodeUserInvalid},
		{"4294967295", none, 0, attestor.CodeUserInvalid},
		{"4294967297", none, 0, attestor.CodeUserInvalid},
		{"18446744073709551616", none, 0, attestor.CodeUserInvalid},
		{"99999999999999999999999999", none, 0, attestor.CodeUserInvalid},
		{"-1", none, 0, attestor.CodeUserInvalid},
		{"+1000", none, 0, attestor.CodeUserInvalid},
		{"01000", none, 0, attestor.CodeUserInvalid},
		{"1000:", none, noGID, attestor.CodeUserInvalid},
		{"1000:1:2", none, noGID, attestor.CodeUserInvalid},
		{"1000:-1", none, noGID, attestor.CodeUserInvalid},
		{"1000:00", none, noGID, attestor.CodeUserInvalid},
		{"1000:4294967296", none, noGID, attestor.CodeUserInvalid},
		{"1000:a b", none, noGID, attestor.CodeUserInvalid},
		{" 0", none, 0, attestor.CodeUserInvalid},
		{"0 ", none, 0, attestor.CodeUserInvalid},
		{"0\n", none, 0, attestor.CodeUserInvalid},
		{"\t0", none, 0, attestor.CodeUserInvalid},
		{"1000 ", none, 0, attestor.CodeUserInvalid},
		{"0x10", none, 0, attestor.CodeUserInvalid},
		{"0x0", none, 0, attestor.CodeUserInvalid},
		{"0_0", none, 0, attestor.CodeUserInvalid},
		{"1e3", none, 0, attestor.CodeUserInvalid},
		{"１０００", none, 0, attestor.CodeUserInvalid},
		{"٠", none, 0, attestor.CodeUserInvalid},
		{"0\x00", none, 0, attestor.CodeUserInvalid},
		{"spc ", none, 0, attestor.CodeUserInvalid},
		{"root ", none, 0, attestor.CodeUserInvalid},
		{"$USER", none, 0, attestor.CodeUserInvalid},
		{"CONTAINER\\User", none, 0, attestor.CodeUserInvalid},

		{"app", none, 0, attestor.CodeUserNotNumeric},
		{"nonroot:nonroot", none, noGID, attestor.CodeUserNotNumeric},
		{"nobody:65534", none, 65534, attestor.CodeUserNotNumeric},
		{"Root", none, 0, attestor.CodeUserNotNumeric},
	}
}
func users() []Case {
	var out []Case
	n := map[string]int{}
	add := func(u UserCase, code attestor.Code) {
		name := fmt.Sprintf("users/%q", u.Configured)
		if slug := Slug(name); n[slug] > 0 { // most differ in what no name may hold
			name += fmt.Sprintf(" (%d)", n[slug]+1)
		}
		n[Slug(fmt.Sprintf("users/%q", u.Configured))]++
		out = append(out, Case{Name: name, Want: judged(some(code)...), Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = UserConfig(u.Configured)
			p.Push(i)
		}})
	}

	for _, u := range PlainUsers() {
		code := u.Code
		switch {
		case u.Configured == "":
			code = attestor.CodeUserNotSet
		case u.UID == 0:
			code = attestor.CodeUserRoot
		}
		add(u, code)
	}

	for _, u := range DisguisedRoots() {
		add(u, u.Code)
	}
	for _, u := range RefusedUsers() {
		add(u, u.Code)
	}

	return append(out,
		Case{Name: "users/container_config is not followed", Want: denied(attestor.CodeUserRoot), Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"config":{"User":"root"},"container_config":{"User":"nobody"}`
			p.Push(i)
		}},
		Case{Name: "users/none in a config with container_config", Want: denied(attestor.CodeUserNotSet), Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"container_config":{"User":"1000"}`
			p.Push(i)
		}},
		Case{Name: "users/below the policy's minimum", Policy: minimumUID, Want: denied(attestor.CodeUserTooLow), Arrange: func(p *Place) {
			i := p.Good()
			i.User = "999:1000"
			p.Push(i)
		}},
		Case{Name: "users/group 0 where the policy refuses it", Policy: minimumUID, Want: denied(attestor.CodeGroupRoot), Arrange: func(p *Place) {
			i := p.Good()
			i.User = "1000"
			p.Push(i)
		}},
		Case{Name: "users/at the policy's minimum", Policy: minimumUID, Want: admitted(), Mends: "users/below the policy's minimum", Arrange: func(p *Place) {
			i := p.Good()
			i.User = "1000:1000"
			p.Push(i)
		}},
		Case{Name: "users/group 1 where the policy refuses 0", Policy: minimumUID, Want: admitted(),
			Mends: "users/group 0 where the policy refuses it", Arrange: func(p *Place) {
				i := p.Good()
				i.User = "1000:1"
				p.Push(i)
			}},
		Case{Name: "users/a user on the second platform", Policy: AnyBase, Want: admitted(),
			Mends: "users/root on the second platform", Arrange: func(p *Place) {
				amd, arm := p.Good(), p.Good()
				arm.Arch = "arm64"
				p.PushTo(p.Repo, "amd64", amd)
				p.PushTo(p.Repo, "arm64", arm)
				p.Manifest("1", OCIIndex, Index(amd.Entry(), arm.Entry()))
			}},
		Case{Name: "users/container_config contradicts the config", Want: admitted(), Mends: "users/container_config is not followed", Arrange: func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"config":{"User":"65534"},"container_config":{"User":"root"}`
			p.Push(i)
		}},
		Case{Name: "users/root on the second platform", Policy: AnyBase, Want: denied(attestor.CodeUserNotSet), Arrange: func(p *Place) {
			amd, arm := p.Good(), p.Good()
			arm.Arch, arm.ConfigExtra = "arm64", `"config":{}`
			p.PushTo(p.Repo, "amd64", amd)
			p.PushTo(p.Repo, "arm64", arm)
			p.Manifest("1", OCIIndex, Index(amd.Entry(), arm.Entry()))
		}},
	)
}

const minimumUID = `
  base: {required: false}
  user: {nonRoot: true, minimumUID: 1000, rootGroup: deny}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
