package corpus

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// SimpleSigning is the payload that Binary Authorization wants, compact.
func SimpleSigning(repository string, d attestor.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},`+
		`"type":"Google cloud binauthz container signature"}}`, repository, d)
}

// attestations are occurrences that somebody else wrote under the gate's note,
// or with its key. The image is refused by its policy, so that nothing of the
// gate's own stands: a cluster must not admit it.
func attestations() []Case {
	foreign := NewKey()
	byGate := func(payload func(p *Place, d attestor.Digest) []byte) func(p *Place,
		d attestor.Digest) *grafeaspb.Occurrence {
		return func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
			b := payload(p, d)
			return SignedAttestation(p.Note, p.KeyID, p.Resource(d), b, p.Sign(b))
		}
	}

	genuine := byGate(func(p *Place, d attestor.Digest) []byte { return SimpleSigning(p.Host+"/"+p.Repo, d) })
	edited := func(old, with string) func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
		return byGate(func(p *Place, d attestor.Digest) []byte {
			return []byte(strings.Replace(string(SimpleSigning(p.Host+"/"+p.Repo, d)), old, with, 1))
		})
	}

	changed := func(f func(p *Place, o *grafeaspb.Occurrence)) func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
		return func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
			o := genuine(p, d)
			f(p, o)
			return o
		}
	}

	other := Sum([]byte("another image"))
	forged := func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
		b := SimpleSigning(p.Host+"/"+p.Repo, d)
		return SignedAttestation(p.Note, p.KeyID, p.Resource(d), b, foreign.Sign(b))
	}

	var out []Case
	for _, tt := range []struct {
		name    string
		put     func(p *Place, d attestor.Digest) *grafeaspb.Occurrence
		allowed bool
	}{
		{"the gate's key, this digest", genuine, true},
		{"another key under the gate's key id", forged, false},
		{"another key under an id of its own", func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
			o := forged(p, d)
			o.GetAttestation().GetSignatures()[0].PublicKeyId = "ni:///sha-256;x"
			return o
		}, false},
		{"the gate's key, another digest",
			byGate(func(p *Place, _ attestor.Digest) []byte { return SimpleSigning(p.Host+"/"+p.Repo, other) }), false},
		{"the gate's key, filed under another digest",
			changed(func(p *Place, o *grafeaspb.Occurrence) { o.ResourceUri = p.Resource(other) }), false},
		{"the gate's key, filed by tag",
			changed(func(p *Place, o *grafeaspb.Occurrence) { o.ResourceUri = "https://" + p.Ref("1") }), false},
		{"the gate's key, under a namesake's note",
			changed(func(_ *Place, o *grafeaspb.Occurrence) { o.NoteName = "projects/mallory/notes/gate" }), false},
		{"a signature of one byte",
			changed(
				func(_ *Place,
					o *grafeaspb.Occurrence) {
					o.GetAttestation().GetSignatures()[0].Signature = []byte{0}
				}), false},
		{"a flipped bit", changed(func(_ *Place, o *grafeaspb.Occurrence) {
			s := o.GetAttestation().GetSignatures()[0].GetSignature()
			s[len(s)-1] ^= 1
		}), false},
		{"the gate's key id in capitals", changed(func(_ *Place, o *grafeaspb.Occurrence) {
			s := o.GetAttestation().GetSignatures()[0]
			s.PublicKeyId = strings.ToUpper(s.GetPublicKeyId())
		}), false},
		{"a payload that was edited", changed(func(_ *Place, o *grafeaspb.Occurrence) {
			a := o.GetAttestation()
			a.SerializedPayload = append(a.GetSerializedPayload(), ' ')
		}), false},
		{"a payload of cosign's type", edited("Google cloud binauthz container", "cosign container image"), false},
		{"a payload of another type", edited("Google cloud binauthz", "atomic"), false},
		{"a payload with two digests", edited(`"docker-manifest-digest":`, `"docker-manifest-digest":"`+string(other)+
			`","docker-manifest-digest":`), false},
		{"a payload with names in another case", edited("critical", "Critical"), false},
		{"two payloads in one", byGate(func(p *Place, d attestor.Digest) []byte {
			return append(SimpleSigning(p.Host+"/"+p.Repo, d), SimpleSigning(p.Host+"/"+p.Repo, d)...)
		}), false},
		{"a payload of a space", byGate(func(*Place, attestor.Digest) []byte { return []byte(" ") }), false},
		{"a payload of null", byGate(func(*Place, attestor.Digest) []byte { return []byte("null") }), false},
		{"a payload of 128 KiB", byGate(func(p *Place, d attestor.Digest) []byte {
			return append(SimpleSigning(p.Host+"/"+p.Repo, d), strings.Repeat(" ", 1<<17)...)
		}), false},
		{"a signature for continuous validation only", func(p *Place, d attestor.Digest) *grafeaspb.Occurrence {
			b := SimpleSigning(p.Host+"/"+p.Repo, d)
			pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(SimpleMedia), SimpleMedia, len(b), b)
			return SignedAttestation(p.Note, p.KeyID, p.Resource(d), b, p.Sign(pae))
		}, false},
		{"a hundred foreign signatures before the gate's", changed(func(_ *Place, o *grafeaspb.Occurrence) {
			a := o.GetAttestation()
			for range 100 {
				a.Signatures = append([]*grafeaspb.Signature{{PublicKeyId: "x", Signature: []byte("x")}},
					a.GetSignatures()...)
			}
		}), false},
	} {
		want := Want{Status: http.StatusOK, Allowed: tt.allowed}
		if !tt.allowed {
			want.Says = "no valid attestation"
		}
		out = append(out, Case{Name: "attestations/" + tt.name, Want: want, Arrange: refusedImage(tt.put), Send: func(p *Place) []Request {
			d := p.Subjects()[0]
			deny := Attest(p.Ref(string(d)))
			deny.Status = http.StatusUnprocessableEntity
			return []Request{deny, Review("", "Pod", Pod(p.Ref(string(d))))}
		}})
	}

	return append(out,
		Case{Name: "attestations/a forged one beside the gate's own", Want: admitted(),
			Arrange: func(p *Place) { p.Notes = append(p.Notes, forged(p, p.Push(p.Good()))) }},
		Case{Name: "attestations/a forged one in the list", Want: Want{Status: http.StatusOK, Says: `"valid":[]`},
			Arrange: refusedImage(forged), Send: func(p *Place) []Request {
				return []Request{Get("/v1/attestations?image=" + url.QueryEscape(p.Ref(string(p.Subjects()[0]))))}
			}},
		Case{Name: "attestations/a genuine one of an image that is refused now", Want: withAdvice(
			denied(attestor.CodeUserNotSet), attestor.CodeAlreadyAttested), Arrange: refusedImage(genuine)},
	)
}

// refusedImage runs as root, and has what put makes beside it.
func refusedImage(put func(p *Place, d attestor.Digest) *grafeaspb.Occurrence) func(p *Place) {
	return func(p *Place) {
		i := p.Good()
		i.ConfigExtra = `"config":{}`
		p.Notes = append(p.Notes, put(p, p.Push(i)))
	}
}
