package verify_test

import (
	"slices"
	"strconv"
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
			needs := attestor.Needs{ResolveNames: true, ResolveMembers: true}
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs)

			var want []attestor.Code
			if tt.Code != "" {
				want = append(want, tt.Code)
			}
			// That the gid itself is 0 is the policy's to say. What another group brings along is a problem.
			if tt.Group == attestor.CodeGroupUnresolved || tt.Group == attestor.CodeGroupRoot && tt.GID != 0 {
				want = append(want, tt.Group)
			}

			wantCodes(t, ev.Problems, want...)

			source := attestor.UserFromPasswd
			if tt.User[0] <= '9' {
				source = attestor.UserFromConfig
			}
			if got := value(ev.User.UID); got != tt.UID {
				t.Errorf("uid = %d, want %d", got, tt.UID)
			}
			if tt.UID >= 0 && (value(ev.User.GID) != tt.GID || ev.User.Source != source) {
				t.Errorf("user = %+v, gid %d; want gid %d from %s", ev.User, value(ev.User.GID), tt.GID, source)
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

// Names are looked up, and nothing else: what is refused as a number, or is root, is not saved by an account that is called so, and no layer is read
// for a user and group of numbers.
func TestOnlyNamesAreResolved(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	for n, tt := range []struct {
		user string
		code attestor.Code
		uid  int64
	}{
		{"01000", attestor.CodeUserInvalid, -1},
		{"00", attestor.CodeUserRootDisguised, 0},
		{":app", attestor.CodeUserRootDisguised, 0},
		{"app:+5", attestor.CodeUserInvalid, -1},
		{"0:app", "", 0},
		{"1000:1000", "", 1000},
		{"1000", "", 1000},
	} {
		l := tarLayer(file{"etc/", ""}, file{"etc/passwd", tt.user + ":x:1000:1000::/:\n" + root1000}, file{"etc/group", "app:x:1000:\n"})
		tag := strconv.Itoa(n)
		pushRaw(t, host, "app", tag, rawImage{User: tt.user, Layers: []rawLayer{l}})
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:"+tag, attestor.Needs{ResolveNames: true})
		var want []attestor.Code
		if tt.code != "" {
			want = append(want, tt.code)
		}
		wantCodes(t, ev.Problems, want...)
		if got := value(ev.User.UID); got != tt.uid {
			t.Errorf("%q: uid %d, want %d", tt.user, got, tt.uid)
		}
		for _, r := range f.requests() {
			if strings.HasPrefix(r, "GET") && strings.HasSuffix(r, string(sum(l.Blob))) {
				t.Errorf("%q: a layer was read", tt.user)
			}
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

func TestParseGroups(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		gid           int64 // -1: refused
	}{
		{"plain", "app:x:1000:", 1000},
		{"with members", "app:x:1000:a,b,c\n", 1000},
		{"among others", corpus.Groups, 3000},
		{"root's number", "app:x:0:", 0},
		{"largest", "app:x:2147483647:", 2147483647},
		{"comments, empty and malformed lines of others", "# app\n\nbad\nfoo:x\napp:x:7:\n+:::\n", 7},
		{"many members", "all:x:1:" + strings.Repeat("member,", 4000) + "\napp:x:7:\n", 7},
		{"members of another group that has the name", "other:x:0:app\napp:x:7:\n", 7},
		{"a gid that is no number reads as root's", "app:x:abc:", -1},
		{"a short line reads as root's", "app:x", -1},
		{"three fields", "app:x:1", -1},
		{"five fields", "app:x:1:a:b", -1},
		{"a gid that wraps to root's", "app:x:4294967296:", -1},
		{"a negative gid", "app:x:-1:", -1},
		{"a leading zero", "app:x:01:", -1},
		{"a space in the gid", "app:x: 1:", -1},
		{"twice", "app:x:1:\napp:x:2:", -1},
		{"twice, once with a space before it", " app:x:0:\napp:x:1:", -1},
		{"with a space before it", " app:x:1:", -1},
		{"carriage returns", "app:x:1:\r\n", -1},
		{"NUL", "app:x:1:\x00", -1},
		{"a line that some runtimes do not read", "all:x:1:" + strings.Repeat("member,", 5000) + "\napp:x:7:\n", -1},
		{"empty", "", -1},
		{"not there", "web:x:1:", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gid, err := verify.ParseGroups([]byte(tt.content), "app")
			if err != nil {
				gid = -1
			}
			if gid != tt.gid {
				t.Errorf("gid = %d, %v; want %d", gid, err, tt.gid)
			}
		})
	}
}

// An absence in a layer that was not read to its end is an error that names the
// layer and the limit, and no message advises to raise what cannot be raised.
func TestLimitsAreNoAbsence(t *testing.T) {
	l := tarLayer(append(etc(root1000), file{"a", "1"}, file{"b", "2"})...)
	below := tarLayer(append(etc(root1000), file{"etc/group", corpus.Groups})...)

	for _, tt := range []struct {
		name, user string
		limits     verify.Limits
		code       attestor.Code
		says       string
	}{
		{"files", "web", verify.Limits{LayerEntries: 3}, attestor.CodeUserLookupFailed, "more than 3 files"},
		{"files, for a group", "1000:web", verify.Limits{LayerEntries: 3}, attestor.CodeGroupUnresolved, "more than 3 files"},
		{"bytes of the layer", "web", verify.Limits{LayerBytes: 1000}, attestor.CodeUserLookupFailed, "at most 1000 are read"},
		{"bytes of what it unpacks to", "web", verify.Limits{UncompressedBytes: 1000}, attestor.CodeUserLookupFailed, "more than 1000 bytes"},
		{"bytes of passwd", "app", verify.Limits{PasswdBytes: 50}, attestor.CodeUserLookupFailed, "at most 50 are read"},
		{"bytes of group", "1000:app", verify.Limits{PasswdBytes: 50}, attestor.CodeGroupUnresolved, "at most 50 are read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			top := l
			if tt.name == "bytes of group" {
				top = tarLayer(file{"c", "3"})
			}

			pushRaw(t, host, "app", "1", rawImage{User: tt.user, Layers: []rawLayer{below, top}})
			i := newInspector(t, host, func(c *config) { c.Limits = tt.limits })
			ev := inspectOne(t, i, host+"/app:1", attestor.Needs{ResolveNames: true})

			wantCodes(t, ev.Problems, tt.code)
			p := ev.Problems[0]
			if p.Status != attestor.StatusError {
				t.Errorf("status = %s, want an error: nothing was found out", p.Status)
			}

			named := strings.Contains(p.Message, string(sum(top.Blob))) || strings.Contains(p.Message, string(sum(below.Blob)))
			if !named || !strings.Contains(p.Message, tt.says) || strings.Contains(p.Message+p.Fix, "raise") {
				t.Errorf("it says %q; %q", p.Message, p.Fix)
			}
		})
	}
}

// Layers are read down to the one that decides about the files that are asked
// for, and no further.
func TestLayersBelowAreNotRead(t *testing.T) {
	bottom := tarLayer(append(etc(root1000), file{"etc/group", corpus.Groups})...)
	groups := tarLayer(file{"etc/", ""}, file{"etc/group", corpus.Groups})
	both := tarLayer(append(etc(root1000), file{"etc/group", corpus.Groups}, file{"a", ""})...)

	for _, tt := range []struct {
		name, user string
		top        rawLayer
		below      bool
	}{
		{"a user that the top layer has", "app", both, false},
		{"a user and a group that the top layer has", "app:app", both, false},
		{"a group that the top layer has", "1000:app", groups, false},
		{"a user that it has not", "app", groups, true},
		{"a user that it has not, and a group that it has", "app:app", groups, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			pushRaw(t, host, "app", "1", rawImage{User: tt.user, Layers: []rawLayer{bottom, tt.top}})
			f.set(nil)
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			wantCodes(t, ev.Problems)

			var top, below bool
			for _, r := range f.requests() {
				top = top || r == "GET /v2/app/blobs/"+string(sum(tt.top.Blob))
				below = below || r == "GET /v2/app/blobs/"+string(sum(bottom.Blob))
			}

			if !top || below != tt.below {
				t.Errorf("read: top %t, below %t; want true, %t", top, below, tt.below)
			}
		})
	}
}

// A group's name is looked up only where the policy has names resolved, and
// costs a numeric user without one nothing.
func TestGroupsAreReadOnlyForNames(t *testing.T) {
	for _, tt := range []struct {
		user    string
		resolve bool
		reads   bool
	}{
		{"1000:app", true, true},
		{"1000:app", false, false},
		{"1000:1000", true, false}, // where the policy does not refuse group 0
		{"1000", true, false},
		{"1000:root", true, false},
		{"root:app", true, false},
	} {
		t.Run(tt.user, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			l := tarLayer(append(etc(root1000), file{"etc/group", corpus.Groups})...)
			pushRaw(t, host, "app", "1", rawImage{User: tt.user, Layers: []rawLayer{l}})
			f.set(nil)
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: tt.resolve})
			wantCodes(t, ev.Problems)

			reads := false
			for _, r := range f.requests() {
				reads = reads || strings.HasPrefix(r, "GET") && strings.HasSuffix(r, string(sum(l.Blob)))
			}

			if reads != tt.reads {
				t.Errorf("the layer was read: %t, want %t", reads, tt.reads)
			}
		})
	}
}

// The groups of a user by number are looked up where the policy refuses group 0, unless the gid is 0 anyway. What could
// not be found out is no absence.
func TestMembersByNumber(t *testing.T) {
	good := tarLayer(append(etc(root1000), file{"etc/group", "root:x:0:\n"})...)
	member := tarLayer(append(etc(root1000), file{"etc/group", "root:x:0:app\nstaff:x:50:\n"})...)
	names, members := attestor.Needs{ResolveNames: true}, attestor.Needs{ResolveNames: true, ResolveMembers: true}
	numbers := attestor.Needs{ResolveMembers: true}
	for _, tt := range []struct {
		name, user string
		needs      attestor.Needs
		layer      rawLayer
		reads      bool
		codes      []attestor.Code
	}{
		{"asked for", "1000:1000", members, good, true, nil},
		{"not asked for", "1000:1000", names, good, false, nil},
		{"names are not resolved", "1000:1000", numbers, good, true, nil},
		{"names are not resolved, of a member of group 0", "1000:1000", numbers, member, true,
			[]attestor.Code{attestor.CodeGroupRoot}},
		{"names are not resolved, and the group is one", "1000:staff", numbers, member, false, nil},
		{"names are not resolved, and the user is one", "app", numbers, member, false,
			[]attestor.Code{attestor.CodeUserNotNumeric}},
		{"names are not resolved, group 0 by number", "1000:0", numbers, member, false, nil},
		{"names are not resolved, root", "0:1000", numbers, member, false, nil},
		{"group 0 by number", "1000:0", members, good, false, nil},
		{"group 0 by name", "1000:root", members, good, false, nil},
		{"group 0 since there is none", "1000", members, good, false, nil},
		{"root", "0:1000", members, good, false, nil},
		{"a layer that is not what its diffID says", "1000:1000", members, good.Gzipped().Forged(sum([]byte("other"))), true,
			[]attestor.Code{attestor.CodeLayersMismatch}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			pushRaw(t, host, "app", "1", rawImage{User: tt.user, Layers: []rawLayer{tt.layer}})
			f.set(nil)
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", tt.needs)
			wantCodes(t, ev.Problems, tt.codes...)

			reads := slices.ContainsFunc(f.requests(), func(r string) bool {
				return strings.HasPrefix(r, "GET") && strings.HasSuffix(r, string(sum(tt.layer.Blob)))
			})
			if reads != tt.reads {
				t.Errorf("the layer was read: %t, want %t", reads, tt.reads)
			}
		})
	}
}

// An image chooses how many users have one number and how many members a group has: finding one among the other takes
// no time that is the product of both.
func TestManyUsersOfOneNumber(t *testing.T) {
	names := make([]string, 100_000)
	for n := range names {
		names[n] = "u" + strconv.Itoa(n)
	}
	group := strings.Repeat("g:x:7:"+strings.Repeat("v,", 10_000)+"\n", 50) + "root:x:0:u99999\n"
	member, found, err := verify.ParseMembers([]byte(group), names)
	if err != nil || member != "u99999" || found != "root" {
		t.Errorf("%q in %q, %v", member, found, err)
	}
}
