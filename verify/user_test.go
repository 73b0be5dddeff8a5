package verify_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// The values are those that three runtimes (containerd, moby, kubelet's
// runAsNonRoot) were run on; docs/users.md says what they made of them.
func TestParseUser(t *testing.T) {
	for _, tt := range slices.Concat(corpus.PlainUsers(), corpus.DisguisedRoots(), corpus.RefusedUsers()) {
		t.Run(tt.Configured, func(t *testing.T) {
			u, p := verify.ParseUser(tt.Configured)
			var code attestor.Code
			if p != nil {
				code = p.Code
				if p.Check != attestor.CheckUser || p.Status != attestor.StatusDeny || p.Fix == "" || p.Message == "" {
					t.Errorf("problem = %+v", p)
				}
			}
			if code != tt.Code {
				t.Errorf("code = %q, want %q", code, tt.Code)
			}
			if u.Configured != tt.Configured {
				t.Errorf("Configured = %q", u.Configured)
			}
			if got := value(u.UID); got != tt.UID {
				t.Errorf("UID = %d, want %d", got, tt.UID)
			}
			if got := value(u.GID); got != tt.GID {
				t.Errorf("GID = %d, want %d", got, tt.GID)
			}
			if (u.UID != nil) != (u.Source == attestor.UserFromConfig) {
				t.Errorf("Source = %q with uid %d", u.Source, value(u.UID))
			}
		})
	}
}

// TestWhyAUserIsRefused: what a name or number is taken for, at the edges between one case and the next.
func TestWhyAUserIsRefused(t *testing.T) {
	for _, tt := range []struct {
		configured string
		uid        int64
		code       attestor.Code
		says       string
	}{
		{"00", 0, attestor.CodeUserRootDisguised, "written in another way"},
		{"-0", 0, attestor.CodeUserRootDisguised, "written in another way"},
		{"4294967296", 0, attestor.CodeUserRootDisguised, "keep 32 bits"},
		{"-9223372036854775808", 0, attestor.CodeUserRootDisguised, "keep 32 bits"},
		{"-9223372036854775809", -1, attestor.CodeUserInvalid, "runtimes read differently"},
		{"01000", -1, attestor.CodeUserInvalid, "runtimes read differently"},
		{"2147483648", -1, attestor.CodeUserInvalid, "is larger than 2147483647"},
		{"a b", -1, attestor.CodeUserInvalid, "neither a number nor a user name"},
		{strings.Repeat("a", 200), -1, attestor.CodeUserInvalid, `user "` + strings.Repeat("a", 200) + `" is neither`},
		{strings.Repeat("a", 201), -1, attestor.CodeUserInvalid, `user "` + strings.Repeat("a", 200) + `…" is neither`},

		// A name with such a group is not looked up in the image either: no file says what the group is.
		{"app:app", -1, attestor.CodeUserNotNumeric, "is a name"},
		{"app:+5", -1, attestor.CodeUserInvalid, "neither a number nor a user name"},
		{"app:2147483648", -1, attestor.CodeUserInvalid, "neither a number nor a user name"},
		{"app:", -1, attestor.CodeUserInvalid, "neither a number nor a user name"},
	} {
		u, p := verify.ParseUser(tt.configured)
		if p == nil || p.Code != tt.code || !strings.Contains(p.Message, tt.says) || value(u.UID) != tt.uid {
			t.Errorf("%q: uid %d, %+v; want %d, %s: %q", tt.configured, value(u.UID), p, tt.uid, tt.code, tt.says)
		}
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
			pushRaw(t, host, "app", "1", rawImage{ConfigExtra: tt.config})
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
