package config_test

import (
	"encoding"
	"reflect"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/when"
)

// A configField is one scalar of the configuration and a document that holds it alone.
type configField struct {
	path  string
	typ   reflect.Type
	write func(value string) string
}

func configFields(t reflect.Type, path string, write func(string) string) []configField {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return []configField{{path, t, write}}
	}

	switch t.Kind() {
	case reflect.Pointer:
		return configFields(t.Elem(), path, write)

	case reflect.Slice:
		return configFields(t.Elem(), path+"[0]", func(v string) string { return write("[" + v + "]") })

	case reflect.Map:
		return configFields(t.Elem(), path+".key", func(v string) string { return write("{key: " + v + "}") })

	case reflect.Struct:
		var out []configField
		for i := range t.NumField() {
			name := t.Field(i).Tag.Get("yaml")
			if name == "" {
				continue
			}

			within := func(v string) string { return write("{" + name + ": " + v + "}") }
			out = append(out, configFields(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."), within)...)
		}
		return out
	}
	return []configField{{path, t, write}}
}

// TestConfigScalars: each boolean, number and text of attestor.yaml takes its own type and nothing else; what is wrong
// is named with its place.
func TestConfigScalars(t *testing.T) {
	t.Parallel()
	count := map[reflect.Kind]int{}

	for _, f := range configFields(reflect.TypeFor[config.Config](), "", func(v string) string { return v }) {
		count[f.typ.Kind()]++
		textual := reflect.PointerTo(f.typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
		var right []string
		wrong := []string{"null", "~"}
		if !strings.HasSuffix(f.path, "]") { // in a list it would be an empty list
			wrong = append(wrong, "")
		}

		switch {
		case textual && f.typ == reflect.TypeFor[when.Duration]():
			right = []string{"0", "45s", `"1h30m"`}
			wrong = append(wrong, "14", "0x0", "1_0s", "true")

		case textual:
			right = []string{`"registry.example/**"`}

		case f.typ.Kind() == reflect.Bool:
			right = []string{"true", "false"}
			wrong = append(wrong, `"true"`, `"false"`, "'false'", "yes", "no", "on", "off", "True", "y", "0", "1")

		case f.typ.Kind() == reflect.Int:
			right = []string{"1", "20"}
			wrong = append(wrong, `"1"`, "'20'", "0x1F", "0o17", "017", "1_000", "+5", "1.0", "1e3", "true", "many")

		case f.typ.Kind() == reflect.Float64:
			right = []string{"1", "0.5"}
			wrong = append(wrong, `"0.5"`, "0x1", "01", "1_0", "+0.5", ".nan", ".inf", "true", "half")

		default:
			right = []string{"word", `"true"`, "123456", "2026-11-01"}
			wrong = append(wrong, "true", "1.10", "0x1F", "1_000", ".nan")
		}

		for _, v := range wrong {
			_, err := config.Parse([]byte(f.write(v)))
			if err == nil || !strings.Contains(err.Error(), "line 1, column ") {
				t.Errorf("%s: %v", f.write(v), err)
			}
		}

		for _, v := range right {
			if _, err := config.Parse([]byte(f.write(v))); err != nil {
				t.Errorf("%s: %v", f.write(v), err)
			}
		}
	}

	if count[reflect.Bool] < 5 || count[reflect.Int] < 4 || count[reflect.Float64] < 2 || count[reflect.String] < 30 {
		t.Errorf("the configuration was not walked in full: %v", count)
	}
}
