package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"github.com/attestor-gate/attestor/internal/when"
)

// maxSize bounds a configuration, in bytes.
const maxSize = 1 << 20

// A ProfileCheck reports what is wrong with a posture profile, built in or a
// file. A name without dot or slash is a built-in one.
type ProfileCheck func(name string) error

// Load reads, completes and checks a configuration file. Relative paths in it
// start at its directory. The error names everything that is wrong, with the
// place where it has one.
func Load(path string, getenv func(string) string, profile ProfileCheck) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return Config{}, isDirectory(path)
	}

	// One byte more than is allowed shows a file that is too large.
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxSize {
		return Config{}, fmt.Errorf("%s is larger than 1 MiB", path)
	}

	if isPolicy(b) {
		return Config{}, fmt.Errorf(
			"%[1]s is a policy, and not a configuration: attestor policy lint %[1]s checks it", path,
		)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}

	// Paths first: what is checked is what will be opened.
	c.resolve(filepath.Dir(path), profile)

	if err := c.Finish(getenv, profile); err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// isDirectory says which file in a directory was meant, where that can be told.
func isDirectory(path string) error {
	e := &attestor.Error{
		Kind: attestor.Invalid, Msg: path + " is a directory, and a configuration is one file", Fix: "name the file in it",
	}
	file := filepath.Join(path, "attestor.yaml")
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		e.Fix = "name the file, such as " + file
	}
	return e
}

// isPolicy reports whether a file is what people take for a configuration most often.
func isPolicy(b []byte) bool {
	var head struct {
		Kind string `yaml:"kind"`
	}
	return yaml.Unmarshal(b, &head) == nil && strings.HasPrefix(head.Kind, "GatePolicy")
}

// Finish gives what was left out its default, and returns all that is wrong.
func (c *Config) Finish(getenv func(string) string, profile ProfileCheck) error {
	c.setDefaults(getenv)
	return errors.Join(c.problems(getenv, profile)...)
}

// Parse decodes one YAML document strictly, and neither completes nor checks it: a key that is not known, or a value
// of another type, would be a rule that somebody wrote and nothing applies.
func Parse(b []byte) (Config, error) {
	var c Config
	if err := strictly(b, &c); err != nil {
		return Config{}, err
	}
	return c, nil
}

// strictly decodes one document into a struct.
func strictly[T any](b []byte, into *T) error {
	if err := checkTypes(b, reflect.TypeFor[T]()); err != nil {
		return err
	}

	loader, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithKnownFields())
	if err != nil {
		return err
	}
	if err := loader.Load(into); err != nil {
		if errors.Is(err, io.EOF) { // nothing but comments: all that is required is missing
			return nil
		}
		if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
			var lines []error
			for _, e := range many.Errors {
				lines = append(lines, fmt.Errorf("line %d, column %d: %s", e.Mark.Line, e.Mark.Column,
					unknownKey(e.Message)))
			}
			return errors.Join(lines...)
		}
		if one, ok := errors.AsType[*yaml.LoadError](err); ok {
			return fmt.Errorf("line %d, column %d: not YAML: %s", one.Mark.Line, one.Mark.Column, one.Message)
		}
		return err
	}

	// A second document would be configuration that nothing reads.
	var rest any
	if err := loader.Load(&rest); !errors.Is(err, io.EOF) {
		return errors.New("there is a second document; only one is read")
	}
	return nil
}

// checkTypes reports values that are not of their field's type, each with its
// place. The YAML library alone reads yes and on as true, 017 as 15, and an empty
// field as one that was left out.
func checkTypes(b []byte, t reflect.Type) error {
	loader, err := yaml.NewLoader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := loader.Load(&document); err != nil {
		return nil //nolint:nilerr // Parse reports what is not YAML
	}

	var faults []error
	shape := strictyaml.Shape{Tag: "yaml", Identifiers: true}
	for _, fault := range shape.Check(&document, t) {
		faults = append(faults, fault)
	}
	return errors.Join(faults...)
}

// setDefaults gives what was left out its default. Defaults of parts that have their
// own, such as the circuits of package dependency, stay with them.
func (c *Config) setDefaults(getenv func(string) string) {
	if port := getenv("PORT"); port != "" {
		c.Listen = ":" + port
	}
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:8080")
	c.PolicyReload = cmp.Or(c.PolicyReload, when.Duration(10*time.Second))
	c.PostureProfile = cmp.Or(c.PostureProfile, "baseline")

	c.Limits.MaxWait = cmp.Or(c.Limits.MaxWait, when.Duration(45*time.Second))
	c.Limits.Deadline = cmp.Or(c.Limits.Deadline, when.Duration(30*time.Second))
	c.Limits.Settle = cmp.Or(c.Limits.Settle, when.Duration(30*time.Second))

	// Each call has a bound, also where the file names none.
	t := &c.Dependencies.Timeouts
	for _, d := range []*when.Duration{
		&t.Registries, &t.ContainerAnalysis, &t.KMS, &t.BinaryAuthorization, &t.ArtifactRegistry, &t.PubSub,
	} {
		*d = cmp.Or(*d, when.Duration(limit.Default))
	}
	if c.Telemetry.OTLP != nil {
		c.Telemetry.OTLP.Sample = cmp.Or(c.Telemetry.OTLP.Sample, 1)
	}
}
