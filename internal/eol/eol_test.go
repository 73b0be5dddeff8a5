package eol_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// TestBuiltin: the table of the release knows the distributions that images are built on, each by the last date on which fixes are published
// for everybody, as their publishers announced them.
func TestBuiltin(t *testing.T) {
	table := eol.Builtin()
	if _, err := time.Parse(time.DateOnly, table.Date()); err != nil || table.Source() == "" {
		t.Errorf("the table is of %q, by %q", table.Date(), table.Source())
	}
	for _, tt := range []struct {
		id, version string
		want        attestor.System // of what the table says
		ended       bool
	}{
		{"debian", "12", attestor.System{Release: "12", End: "2028-06-30", Successor: "debian 13"}, false}, // the end of LTS, not 2026-07-11
		{"debian", "12.5", attestor.System{Release: "12", End: "2028-06-30", Successor: "debian 13"}, false},
		{"debian", "11", attestor.System{Release: "11", End: "2026-08-31", Successor: "debian 13"}, true},
		{"debian", "10", attestor.System{Release: "10", End: "2024-06-30", Successor: "debian 13"}, true},
		{"debian", "forky/sid", attestor.System{Rolling: true}, false},
		{"debian", "", attestor.System{}, false},
		{"ubuntu", "20.04", attestor.System{Release: "20.04", End: "2025-05-31", Successor: "ubuntu 26.04"}, true}, // standard support, not ESM
		{"ubuntu", "24.04", attestor.System{Release: "24.04", End: "2029-05-31", Successor: "ubuntu 26.04"}, false},
		{"ubuntu", "25.10", attestor.System{Release: "25.10", End: "2026-07-01", Successor: "ubuntu 26.04"}, true}, // an interim release
		{"ubuntu", "26.10", attestor.System{}, false},                                                              // newer than the table
		{"ubuntu", "24.4", attestor.System{}, false},
		{"ubuntu", "24", attestor.System{}, false},
		{"debian", "1", attestor.System{}, false},
		{"debian", "12.", attestor.System{Release: "12", End: "2028-06-30", Successor: "debian 13"}, false},
		{"debian", "12 ", attestor.System{Release: "12", End: "2028-06-30", Successor: "debian 13"}, false},
		{"debian", " 12", attestor.System{}, false},
		{"debian", ".", attestor.System{}, false},
		{"alpine", "3.25.1", attestor.System{}, false},
		{"alpine", "3.20.3", attestor.System{Release: "3.20", End: "2026-04-01", Successor: "alpine 3.24"}, true},
		{"alpine", "3.2", attestor.System{Release: "3.2", End: "2017-05-01", Successor: "alpine 3.24"}, true},
		{"alpine", "3.25.0_alpha20261101", attestor.System{Rolling: true}, false},
		{"centos", "7", attestor.System{Release: "7", End: "2024-06-30", Successor: "centos 10"}, true},
		{"rhel", "9.4", attestor.System{Release: "9", End: "2032-05-31", Successor: "rhel 10"}, false},
		{"rocky", "8.9", attestor.System{Release: "8", End: "2029-05-31", Successor: "rocky 10"}, false},
		{"amzn", "2023 (Amazon Linux)", attestor.System{Release: "2023", End: "2029-06-30"}, false},
		{"amzn", "2 (Karoo)", attestor.System{Release: "2", End: "2026-06-30", Successor: "amzn 2023"}, true},
		{"ol", "10", attestor.System{Release: "10"}, false}, // no end is announced
		{"sles", "15", attestor.System{Release: "15.0", End: "2019-12-31", Successor: "sles 15.7"}, true},
		{"wolfi", "20230201", attestor.System{Rolling: true}, false},
		{"debian", "99", attestor.System{}, false},
		{"house-os", "1", attestor.System{}, false},
	} {
		got := attestor.System{ID: tt.id, Version: tt.version}
		table.Describe(&got, now)
		tt.want.ID, tt.want.Version, tt.want.Table = tt.id, tt.version, table.Date()
		if diff := cmp.Diff(tt.want, got); diff != "" || got.Ended(now) != tt.ended {
			t.Errorf("%s %s: ended %t (-want +got):\n%s", tt.id, tt.version, got.Ended(now), diff)
		}
	}
}

// TestEnded: a system is served through its last day.
func TestEnded(t *testing.T) {
	s := attestor.System{End: "2026-11-20"}
	for at, want := range map[time.Time]bool{
		time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC): false, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC): true,
		time.Date(2026, 11, 21, 0, 30, 0, 0, time.FixedZone("", 3600)): false,
	} {
		if s.Ended(at) != want {
			t.Errorf("at %s: %t", at, s.Ended(at))
		}
	}
	for end, want := range map[string]bool{"": false, "never": true, "2026-13-01": true, "2026-11-19T00:00:00Z": true, "2026-11-20T00:00:00Z": false} {
		if got := (&attestor.System{End: end}).Ended(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)); got != want {
			t.Errorf("an end of %q: %t, want %t", end, got, want)
		}
	}
}

func TestFromCPE(t *testing.T) {
	for cpe, want := range map[string]string{
		"cpe:/o:debian:debian_linux:12":       "debian 12",
		"cpe:/o:canonical:ubuntu_linux:22.04": "ubuntu 22.04",
		"cpe:/o:alpine:alpine_linux:3.20":     "alpine 3.20",
		"cpe:/o:alpine:alpine_linux:v3.20":    "alpine 3.20",
		"cpe:/o:alpine:alpine_linux:v":        "alpine v",
		"cpe:/o:redhat:enterprise_linux:9":    "rhel 9",
		"cpe:/o:centos:centos:7":              "centos 7",
		"cpe:/o:amazon:linux:2":               "amzn 2",
		"cpe:/o:oracle:linux:9":               "",
		"cpe:/o:linux:linux_kernel:6.1":       "",
		"cpe:/a:openssl:openssl:3.0":          "",
		"cpe:/o:debian:debian_linux":          "debian",
		"cpe:/o:debian:debian_linux:*":        "debian",
		"cpe:/o:unknown:unknown_linux:":       "",
		"cpe:/o:debian":                       "",
		"":                                    "",

		// As imported reports of Trivy, Grype and osv-scanner name them.
		"cpe:/o:alma:alma_linux:9.4":                                                  "almalinux 9.4",
		"cpe:/o:redhat:redhat_linux:8.10":                                             "rhel 8.10",
		"cpe:/o:rocky_linux:rocky_linux_linux:8":                                      "rocky 8",
		"cpe:/o:amazon:amazon_linux:2 (Karoo)":                                        "amzn 2 (Karoo)",
		"cpe:/o:suse_linux_enterprise_server:suse_linux_enterprise_server_linux:15.5": "sles 15.5",
		"cpe:/o:opensuse.leap:opensuse.leap_linux:15.6":                               "opensuse-leap 15.6",
	} {
		got, ok := eol.FromCPE(cpe)
		name := strings.TrimSpace(got.ID + " " + got.Version)
		if name != want || ok != (want != "") || ok && got.Source != attestor.SystemFromScan {
			t.Errorf("%s: %q, %t, want %q", cpe, name, ok, want)
		}
	}
}

func TestFromOSRelease(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"Debian":              {"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n", "debian 12"},
		"Debian unstable":     {"PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\n", "debian forky/sid"},
		"Alpine":              {"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.3\n", "alpine 3.20.3"},
		"single quotes":       {"ID='rocky'\nVERSION_ID='9.4'\n", "rocky 9.4"},
		"capitals":            {"ID=Debian\nVERSION_ID=12", "debian 12"},
		"the last one counts": {"ID=debian\nID=ubuntu\nVERSION_ID=1\nVERSION_ID=22.04\n", "ubuntu 22.04"},
		"Windows' line ends":  {"ID=debian\r\nVERSION_ID=12\r\n", "debian 12"},
		"no ID":               {"VERSION_ID=12\n", ""},
		"only a likeness":     {"ID_LIKE=debian\nVERSION_ID=12\n", ""},
		"another likeness":    {"ID=house-os\nID_LIKE=\"debian ubuntu\"\nVERSION_ID=12\n", "house-os 12"},
		"a comment":           {"#ID=ubuntu\nID=debian\n# VERSION_ID=10\nVERSION_ID=12\n", "debian 12"},
		"indented":            {"  ID=debian\n\tVERSION_ID=12\n", "debian 12"},
		"an open quote":       {"ID=debian\nVERSION_ID=\"12\n", "debian \"12"},
		"an open quote of ID": {"ID=\"debian\nVERSION_ID=12\n", ""},
		"a distroless image":  {"PRETTY_NAME=\"Distroless\"\nNAME=\"Debian GNU/Linux\"\nID=\"debian\"\nVERSION_ID=\"12\"\n", "debian 12"},
		"empty values":        {"ID=\"\"\nVERSION_ID=\"\"\n", ""},
		"an invalid ID":       {"ID=\"../x y\"\n", ""},
		"nothing":             {"", ""},
		"binary":              {"\x00\x01ID", ""},
		"a long version":      {"ID=debian\nVERSION_ID=" + strings.Repeat("1", 5000), "debian " + strings.Repeat("1", 64)},
	} {
		got, ok := eol.FromOSRelease([]byte(tt.text))
		if s := strings.TrimSpace(got.ID + " " + got.Version); s != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %t", name, s, ok)
		}
	}
}

// TestTableThatCannotBeRead: a table that is not whole is no table; a file replaces the built-in one.
func TestTableThatCannotBeRead(t *testing.T) {
	const head = "date,2026-01-02\nsource,the house\nid,version,end\n"
	for name, text := range map[string]string{
		"nothing":           "",
		"no systems":        head,
		"no head":           "debian,12,2028-06-30\n",
		"no date":           "date,soon\nsource,x\nid,version,end\ndebian,12,2028-06-30\n",
		"no source":         "date,2026-01-02\nsource,\nid,version,end\ndebian,12,2028-06-30\n",
		"other columns":     "date,2026-01-02\nsource,x\nid,end,version\ndebian,12,2028-06-30\n",
		"an invalid date":   head + "debian,12,2028-06-31\n",
		"a word":            head + "debian,12,never\n",
		"a version rolling": head + "debian,12,rolling\n",
		"two fields":        head + "debian,12\n",
		"an id of capitals": head + "Debian,12,2028-06-30\n",
		"twice":             head + "debian,12,2028-06-30\ndebian,12,2030-06-30\n",
		"too large":         head + "debian,12,2028-06-30\n" + strings.Repeat("# \n", 1<<20),
		"one long line":     head + strings.Repeat("x", 1<<20),
	} {
		if _, err := eol.Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%s is read", name)
		}
	}

	path := filepath.Join(t.TempDir(), "ends.csv")
	if err := os.WriteFile(path, []byte(head+"\n# the house's own\nhouse-os,1,2026-01-31\nhouse-os,2,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := eol.Load(path)
	if err != nil || table.Date() != "2026-01-02" || table.Source() != "the house" {
		t.Fatalf("%+v, %v", table, err)
	}
	s := attestor.System{ID: "house-os", Version: "1"}
	if table.Describe(&s, now); !s.Ended(now) || s.Table != "2026-01-02" {
		t.Errorf("%+v", s)
	}
	if s = (attestor.System{ID: "debian", Version: "10"}); true {
		if table.Describe(&s, now); s.End != "" {
			t.Errorf("the built-in table is still asked: %+v", s)
		}
	}
	if _, err := eol.Load(path + ".absent"); err == nil {
		t.Error("a file that is not there is read")
	}
}
