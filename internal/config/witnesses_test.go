package config_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// A witness without a key that cosigns, at an invalid address, or that is the log itself keeps the gate from starting.
func TestWitnessesAreChecked(t *testing.T) {
	t.Parallel()
	key := func(name string, seed byte) string {
		t.Helper()
		w, err := standin.NewWitness(name, logOf(t), seed)
		if err != nil {
			t.Fatal(err)
		}
		return w.Key()
	}
	one, two := key("witness.example/w1", 1), key("witness.example/w2", 2)
	entry := func(url, key string) string { return "{url: '" + url + "', key: '" + key + "'}" }
	const at = "https://witness.example"

	for name, tt := range map[string]struct {
		witnesses string
		want      string // "": it is accepted
	}{
		"none":                      {"", ""},
		"one":                       {entry(at, one), ""},
		"two":                       {entry(at, one) + "," + entry(at, two), ""},
		"on this machine":           {entry("http://127.0.0.1:7380", one), ""},
		"a private one":             {"{url: 'https://witness.internal', key: '" + one + "', private: true}", ""},
		"no address":                {entry("", one), "log.witnesses[0].url"},
		"not encrypted":             {entry("http://witness.example", one), "http is for this machine only"},
		"with a password":           {entry("https://a:b@witness.example", one), "log.witnesses[0].url"},
		"no key":                    {entry(at, ""), "log.witnesses[0].key"},
		"a log's key":               {entry(at, logOf(t)), "log.witnesses[0].key"},
		"a key of another name":     {entry(at, strings.Replace(one, "w1", "w3", 1)), "its hash is not that of its name and key"},
		"a key that is cut off":     {entry(at, one[:len(one)-4]), "log.witnesses[0].key"},
		"the same one twice":        {entry(at, one) + "," + entry(at, two) + "," + entry("https://other.example", one), "log.witnesses[2].key: duplicate"},
		"two keys of one name":      {entry(at, one) + "," + entry(at, key("witness.example/w1", 9)), "log.witnesses[1].key: duplicate"},
		"of the log's name":         {entry(at, key("gate.example/decisions", 3)), "a log cannot be its own witness"},
		"an unknown member":         {"{url: '" + at + "', key: '" + one + "', quorum: 1}", "quorum"},
		"more than are allowed":     {strings.Repeat(entry(at, one)+",", 17), "log.witnesses: there are 17; at most 16"},
		"the address is not a text": {"{url: [a], key: '" + one + "'}", "cannot construct"},
	} {
		text := leastConfig + "log: {key: log.pem, origin: gate.example/decisions, witnesses: [" + tt.witnesses + "]}\n"
		_, err := config.Load(configFile(t, text), noEnv, profile)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A log is kept nowhere that has neither a bucket nor a witness. Without a log there is nothing to keep.
func TestLogKeptNowhere(t *testing.T) {
	for name, tt := range map[string]struct {
		log  *config.Log
		want bool
	}{
		"no log":    {nil, false},
		"a key":     {&config.Log{Key: "log.pem", Origin: "gate.example/decisions"}, true},
		"a bucket":  {&config.Log{Key: "log.pem", Bucket: "gs://b"}, false},
		"a witness": {&config.Log{Key: "log.pem", Witnesses: []config.Witness{{URL: "https://witness.example"}}}, false},
	} {
		if got := tt.log.KeptNowhere(); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

// logOf is the public key of a log, with which a witness is made.
func logOf(t *testing.T) string {
	t.Helper()
	_, vkey, err := note.GenerateKey(rand.Reader, "gate.example/decisions")
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
