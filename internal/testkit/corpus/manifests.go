package corpus

import "github.com/attestor-gate/attestor"

func manifests() []Case {
	var out []Case
	twins := map[string]string{"plain": "no os", "unknown fields": "duplicate key",
		"labels that look like fields": "user in another case"}
	for _, tt := range Images() {
		mends := ""
		if refused := twins[tt.Name]; refused != "" {
			mends = "manifests/" + refused
		}
		out = append(out, Case{Mends: mends, Name: "manifests/" + tt.Name, Policy: AnyBase,
			Want: judged(some(tt.Code)...), Arrange: func(p *Place) { p.Push(tt.Image) },
			Send: func(p *Place) []Request { return []Request{Attest(p.Ref(string(tt.Image.Digest())))} }})
	}

	for _, tt := range Manifests() {
		_, config := Image{}.Bytes()
		mends := ""
		if tt.Name == "good" {
			mends = "manifests/bytes: config of negative size"
		}

		out = append(out, Case{Mends: mends, Name: "manifests/bytes: " + tt.Name, Policy: AnyBase, Want: judged(some(tt.Code)...), Arrange: func(p *Place) {
			p.Blob(config)
			p.Manifest("1", tt.MediaType, tt.Bytes)
		}, Send: func(p *Place) []Request { return []Request{Attest(p.Ref(string(Sum(tt.Bytes))))} }})
	}
	return out
}

// some is a list of what is not "".
func some(codes ...attestor.Code) []attestor.Code {
	var out []attestor.Code
	for _, c := range codes {
		if c != "" {
			out = append(out, c)
		}
	}
	return out
}
