package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/attestor-gate/attestor/internal/nearest"
)

// unknownField is how the YAML library says that a key is not known.
var unknownField = regexp.MustCompile(`^field (.+) not found in type config\.(\w+)$`)

// unknownKey turns that into a message with the keys of the file, or returns the message as it is.
func unknownKey(message string) string {
	m := unknownField.FindStringSubmatch(message)
	if m == nil {
		return message
	}

	var known []string
	walkTypes(reflect.TypeFor[Config](), map[reflect.Type]bool{}, func(t reflect.Type) {
		if t.Name() == m[2] {
			known = keysOf(t)
		}
	})
	if near := nearest.Question(m[1], known); near != "" {
		return fmt.Sprintf("unknown key %q%s", m[1], near)
	}
	return fmt.Sprintf("unknown key %q: want %s", m[1], strings.Join(known, ", "))
}

// keysOf are the keys that a struct has in the file, in its order.
func keysOf(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		out = append(out, key)
	}
	return out
}

// walkTypes visits the structs of this package that t is made of.
func walkTypes(t reflect.Type, seen map[reflect.Type]bool, visit func(reflect.Type)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || t.PkgPath() != reflect.TypeFor[Config]().PkgPath() {
		return
	}

	seen[t] = true
	visit(t)
	for i := range t.NumField() {
		walkTypes(t.Field(i).Type, seen, visit)
	}
}
