//go:build race

package sbom_test

// underRace: the race detector keeps several bytes for each byte of memory, so that a process' memory says nothing then.
const underRace = true
