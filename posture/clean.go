package posture

import "github.com/attestor-gate/attestor/internal/plain"

// clip bounds what is quoted from a document.
func clip(s string) string { return plain.Clip(plain.Text(s), 120) }

// quote is a value of a document in a message.
func quote(s string) string { return `"` + clip(s) + `"` }
