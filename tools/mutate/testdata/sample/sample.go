// Package sample has one function whose tests notice everything, and others
// whose tests do not.
package sample

import "errors"

// Tested is proven on both sides of its limit.
func Tested(n int, open bool) error {
	if n >= 10 && !open {
		return errors.New("too many")
	}

	return nil
}

// Careless is run and never looked at.
func Careless(list []string) (n int) {
	for _, s := range list {
		if s != "" {
			n++
		}
	}

	return n
}

// Forgotten is not run at all.
func Forgotten(a, b bool) bool {
	switch {
	case a || b:
		return true
	}

	return false
}
