package google_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/google"
)

const loopback, elsewhere = "127.0.0.1:9090", "emulator.example:9090"

// Nothing but a whole emulator, on this machine and not on Cloud Run, is ever
// taken for Google.
func TestFindEmulators(t *testing.T) {
	all := func(host string) map[string]string {
		return map[string]string{google.EnvAnalysis: host, google.EnvKMS: host, google.EnvBinauthz: host}
	}

	with := func(env map[string]string, name, value string) map[string]string {
		env[name] = value
		return env
	}

	for _, tt := range []struct {
		name   string
		env    map[string]string
		remote bool
		want   google.Emulators
		says   string // of the error; "": none
	}{
		{"none", nil, false, google.Emulators{}, ""},
		{"all", all(loopback), false, google.EmulatedAt(loopback), ""},
		{"by name", all("localhost:1"), false, google.EmulatedAt("localhost:1"), ""},
		{"IPv6", all("[::1]:1"), false, google.EmulatedAt("[::1]:1"), ""},
		{"Pub/Sub alone", map[string]string{google.EnvPubSub: loopback}, false, google.Emulators{PubSub: loopback}, ""},
		{"elsewhere, allowed", all(elsewhere), true, google.EmulatedAt(elsewhere), ""},
		{"elsewhere", all(elsewhere), false, google.Emulators{}, "not this machine"},
		{"one elsewhere", with(all(loopback), google.EnvKMS, elsewhere), false, google.Emulators{}, "not this machine"},
		{"Pub/Sub elsewhere", map[string]string{google.EnvPubSub: elsewhere}, false, google.Emulators{}, "not this machine"},
		{"every address", all("0.0.0.0:9090"), false, google.Emulators{}, "not this machine"},
		{"one missing", with(all(loopback), google.EnvBinauthz, ""), false, google.Emulators{}, "only some"},
		{"one missing, allowed elsewhere", with(all(elsewhere), google.EnvAnalysis, ""), true, google.Emulators{}, "only some"},
		{"a URL", all("http://127.0.0.1:9090"), false, google.Emulators{}, "without a scheme"},
		{"no port", all("127.0.0.1"), false, google.Emulators{}, "HOST:PORT"},
		{"Cloud Run", with(all(loopback), "K_SERVICE", "gate"), false, google.Emulators{}, "Cloud Run"},
		{"Cloud Run, allowed elsewhere", with(all(elsewhere), "K_SERVICE", "gate"), true, google.Emulators{}, "Cloud Run"},
		{"Pub/Sub on Cloud Run", map[string]string{google.EnvPubSub: loopback, "K_SERVICE": "gate"}, false, google.Emulators{}, "Cloud Run"},
		{"only Cloud Run", map[string]string{"K_SERVICE": "gate"}, false, google.Emulators{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := google.FindEmulators(func(name string) string { return tt.env[name] }, tt.remote)
			if got != tt.want || (err == nil) != (tt.says == "") || (err != nil && !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%+v, %v, want %+v and an error that says %q", got, err, tt.want, tt.says)
			}
		})
	}
}

// A host that a flag names keeps to the same rules.
func TestFindEmulatorsAt(t *testing.T) {
	none := func(string) string { return "" }
	run := func(name string) string { return map[string]string{"K_SERVICE": "gate"}[name] }
	if got, err := google.FindEmulatorsAt(loopback, none, false); err != nil || got.Analysis != loopback || got.KMS != loopback || got.Binauthz != loopback {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := google.FindEmulatorsAt("", none, false); err != nil || got != (google.Emulators{}) {
		t.Errorf("no host: %+v, %v", got, err)
	}

	for name, getenv := range map[string]func(string) string{elsewhere: none, loopback: run} {
		if got, err := google.FindEmulatorsAt(name, getenv, false); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whoever emulates is named in a warning, and the clients know it; nothing is
// contacted to find that out.
func TestDialSaysThatItIsEmulated(t *testing.T) {
	var log strings.Builder
	c, err := google.Dial(context.Background(), google.EmulatedAt(loopback), slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()

	if !c.Emulated || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), loopback) {
		t.Errorf("emulated: %t, said %q", c.Emulated, log.String())
	}
}
