package verify_test

import (
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// userCase is a value of USER and what is proven of it; -1 is nothing.
type userCase struct {
	configured string
	uid, gid   int64
	code       attestor.Code
}

const none, noGID = -1, -1

func plainUsers() []userCase {
	return []userCase{
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

func disguisedRoots() []userCase {
	return []userCase{
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

func refusedUsers() []userCase {
	return []userCase{
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

// The values are those that three runtimes (containerd, moby, kubelet's
// runAsNonRoot) were run on; docs/users.md says what they made of them.
func TestParseUser(t *testing.T) {
	for _, tt := range slices.Concat(plainUsers(), disguisedRoots(), refusedUsers()) {
		t.Run(tt.configured, func(t *testing.T) {
			u, p := verify.ParseUser(tt.configured)
			var code attestor.Code
			if p != nil {
				code = p.Code
				if p.Check != attestor.CheckUser || p.Status != attestor.StatusDeny || p.Fix == "" || p.Message == "" {
					t.Errorf("problem = %+v", p)
				}
			}
			if code != tt.code {
				t.Errorf("code = %q, want %q", code, tt.code)
			}
			if u.Configured != tt.configured {
				t.Errorf("Configured = %q", u.Configured)
			}
			if got := value(u.UID); got != tt.uid {
				t.Errorf("UID = %d, want %d", got, tt.uid)
			}
			if got := value(u.GID); got != tt.gid {
				t.Errorf("GID = %d, want %d", got, tt.gid)
			}
			if (u.UID != nil) != (u.Source == attestor.UserFromConfig) {
				t.Errorf("Source = %q with uid %d", u.Source, value(u.UID))
			}
		})
	}
}

// value is -1 for nil.
func value(id *int64) int64 {
	if id == nil {
		return -1
	}
	return *id
}

// What runtimes follow is config.User. A gate that reads the container_config
// of old builders judges another user than the one that runs.
func TestUserIsReadWhereRuntimesReadIt(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		uid          int64
	}{
		{"container_config is not followed", `"config":{"User":"root"},"container_config":{"User":"nobody"}`, 0},
		{"nor does it overrule", `"config":{"User":"1000"},"container_config":{"User":"root"}`, 1000},
		{"a config without user is root", `"config":{},"container_config":{"User":"1000"}`, 0},
		{"no config is root", `"container_config":{"User":"1000"}`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{configExtra: tt.config})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
			wantCodes(t, ev.Problems)
			if got := value(ev.User.UID); got != tt.uid {
				t.Errorf("UID = %d, want %d", got, tt.uid)
			}
		})
	}
}

func TestUserOfEachPlatform(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/app:1", index(t, configured(t, baseImage(t, "amd64", 1), "amd64", "65532:65532"), configured(t, baseImage(t, "arm64", 1), "arm64", "")))
	i := newInspector(t, host, nil)
	_, all := inspectAll(t, i, host+"/app:1", attestor.Needs{})
	if len(all) != 2 || value(all[0].User.UID) != 65532 || value(all[1].User.UID) != 0 {
		t.Errorf("users = %+v; the second platform runs as root and must be seen to", all)
	}
}
