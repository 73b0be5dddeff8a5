package signed_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	goodEnvelope = `{"payloadType":"t/x","payload":"aGk=","signatures":[{"keyid":"k","sig":"AQ=="},{"sig":"Ag=="}]}`
	goodBundle   = `{"mediaType":"m","dsseEnvelope":` + goodEnvelope + `,"verificationMaterial":{"a":[1,{"b":null}]}}`
)

// TestOpenEnvelopes: of an envelope, by itself and in a bundle, type, payload and signatures are those that are written
// there, and a signature is made over type and payload (DSSE protocol, PAE).
func TestOpenEnvelopes(t *testing.T) {
	for name, tt := range map[string]struct {
		raw     string
		bundled bool
	}{
		"by itself":              {goodEnvelope, false},
		"with space around":      {"\n " + goodEnvelope + " \n", false},
		"in a bundle":            {goodBundle, true},
		"with space after it":    {goodBundle + "\n", true},
		"with names of others":   {strings.Replace(goodEnvelope, "{", `{"a":{"payload":"eA=="},"b":[1],`, 1), false},
		"written with an escape": {strings.Replace(goodEnvelope, `"aGk="`, `"\u0061Gk="`, 1), false},
		"with the payload last": {
			`{"signatures":[{"sig":"AQ=="},{"sig":"Ag=="}],"payloadType":"t/x","payload":"aGk="}`, false,
		},
	} {
		kind, payload, signatures, over, err := signed.OpenEnvelope([]byte(tt.raw), tt.bundled)
		if err != nil || kind != "t/x" || string(payload) != "hi" || over != "DSSEv1 3 t/x 2 hi" {
			t.Errorf("%s: %q, %q, signed %q, %v", name, kind, payload, over, err)
		}
		if len(signatures) != 2 || !bytes.Equal(signatures[0], []byte{1}) || !bytes.Equal(signatures[1], []byte{2}) {
			t.Errorf("%s: signatures %v", name, signatures)
		}
	}
}

// TestOpenPayloads: payloads of any length and of both alphabets are decoded over their own text.
func TestOpenPayloads(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 767, 768, 769, 1024, 4096, 100_000} {
		want := bytes.Repeat([]byte{0xfb, 0xff, 0xbf, 0x07}, n)[:n]
		for name, encoding := range map[string]*base64.Encoding{"standard": base64.StdEncoding, "URL": base64.URLEncoding} {
			raw := fmt.Appendf(nil, `{"payloadType":"t","payload":%q,"signatures":[]}`, encoding.EncodeToString(want))
			_, payload, _, _, err := signed.OpenEnvelope(raw, false)
			if err != nil || !bytes.Equal(payload, want) {
				t.Errorf("%d bytes, %s: %d bytes, %v", n, name, len(payload), err)
			}
		}
	}
}

// TestNoEnvelopes: what another reader could read in another way, and what says nothing, is no envelope.
func TestNoEnvelopes(t *testing.T) {
	swap := func(old, by string) string {
		if !strings.Contains(goodEnvelope, old) {
			t.Fatalf("the envelope does not have %s", old)
		}
		return strings.Replace(goodEnvelope, old, by, 1)
	}
	for name, raw := range map[string]string{
		"nothing":                 "",
		"a list":                  "[" + goodEnvelope + "]",
		"a text":                  `"payload"`,
		"null":                    "null",
		"an object that is empty": "{}",
		"two":                     goodEnvelope + goodEnvelope,
		"something after it":      goodEnvelope + "x",
		"no payload":              swap(`"payload":"aGk=",`, ""),
		"an empty payload":        swap("aGk=", ""),
		"a payload of padding":    swap("aGk=", "===="),
		"a number as payload":     swap(`"aGk="`, "112341"),
		"null as payload":         swap(`"aGk="`, "null"),
		"a list as payload":       swap(`"aGk="`, `["aGk="]`),
		"a payload cut short":     swap("aGk=", "aGk"),
		"a payload of no base64":  swap("aGk=", "a!k="),
		"two alphabets":           swap("aGk=", "+-+-"),
		"a payload twice":         swap(`"payload":"aGk=",`, `"payload":"aGk=","payload":"eA==",`),
		"a type that is no text":  swap(`"t/x"`, "1"),
		"signatures of no list":   swap(`[{"keyid":"k","sig":"AQ=="},{"sig":"Ag=="}]`, "1"),
		"a signature of no text":  swap(`"AQ=="`, "1"),
		"a signature, no base64":  swap(`"AQ=="`, `"!"`),
		"in a bundle":             goodBundle,
	} {
		if _, payload, _, _, err := signed.OpenEnvelope([]byte(raw), false); err == nil {
			t.Errorf("%s is an envelope of %q", name, payload)
		}
		if name == "in a bundle" {
			continue
		}
		if _, payload, _, _, err := signed.OpenEnvelope([]byte(`{"dsseEnvelope":`+raw+`}`), true); err == nil {
			t.Errorf("%s, in a bundle, is an envelope of %q", name, payload)
		}
	}

	for name, raw := range map[string]string{
		"no envelope":           `{"mediaType":"m"}`,
		"an envelope by itself": goodEnvelope,
		"two envelopes":         `{"dsseEnvelope":` + goodEnvelope + `,"dsseEnvelope":` + goodEnvelope + `}`,
		"something after it":    goodBundle + "x",
		"a list":                "[" + goodBundle + "]",
		"two bundles":           goodBundle + goodBundle,
	} {
		if _, payload, _, _, err := signed.OpenEnvelope([]byte(raw), true); err == nil {
			t.Errorf("a bundle with %s has an envelope of %q", name, payload)
		}
	}

	// Cut short anywhere, neither is one.
	for n := range len(goodEnvelope) {
		if _, _, _, _, err := signed.OpenEnvelope([]byte(goodEnvelope[:n]), false); err == nil {
			t.Errorf("%s is an envelope", goodEnvelope[:n])
		}
	}
	for n := range len(goodBundle) {
		if _, _, _, _, err := signed.OpenEnvelope([]byte(goodBundle[:n]), true); err == nil {
			t.Errorf("%s is a bundle", goodBundle[:n])
		}
	}
}
