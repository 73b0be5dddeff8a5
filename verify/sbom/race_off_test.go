//go:build !race

package sbom_test

const underRace = false
