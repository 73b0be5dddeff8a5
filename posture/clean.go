package posture

import "github.com/attestor-gate/attestor/internal/plain"

// clip bounds what is quoted from a document.
func clip(s string) string {
	const most = 120
	r := []rune(plain.Text(s))
	if len(r) > most {
		return string(r[:most]) + "…"
	}

	return string(r)
}

// quote is a value of a document in a message.
func quote(s string) string { return `"` + clip(s) + `"` }
