package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// A voucherFile is Voucher's configuration, as its server reads it. Tables that judge no image are not looked into.
type voucherFile struct {
	DryRun                   bool                       `toml:"dryrun"`
	Scanner                  string                     `toml:"scanner"`
	FailOn                   string                     `toml:"failon"`
	ValidRepos               []string                   `toml:"valid_repos"`
	TrustedBuilderIdentities []string                   `toml:"trusted_builder_identities"`
	TrustedProjects          []string                   `toml:"trusted_projects"`
	MetadataClient           string                     `toml:"metadata_client"`
	ImageProject             string                     `toml:"image_project"`
	BinauthProject           string                     `toml:"binauth_project"`
	Signer                   string                     `toml:"signer"`
	Checks                   map[string]bool            `toml:"checks"`
	Required                 map[string]map[string]bool `toml:"required"`
	Server                   map[string]any             `toml:"server"`
	EJSON                    map[string]any             `toml:"ejson"`
	SOPS                     map[string]any             `toml:"sops"`
	Metrics                  map[string]any             `toml:"metrics"`
	StatsD                   map[string]any             `toml:"statsd"`
	OpenTelemetry            map[string]any             `toml:"opentelemetry"`
	PubSub                   map[string]any             `toml:"pubsub"`
	ContainerAnalysis        map[string]any             `toml:"containeranalysis"`
	GrafeasOS                map[string]any             `toml:"grafeasos"`
	Repository               map[string]map[string]any  `toml:"repository"`
	KMSKeys                  []map[string]any           `toml:"kms_keys"`
}

// readVoucher reads a configuration. Its groups of checks are its parts: "all" is [checks].
func readVoucher(s policy.Source) ([]document, error) {
	if err := shallow(s); err != nil {
		return nil, err
	}
	var f voucherFile
	decoder := toml.NewDecoder(bytes.NewReader(s.Text)).DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, invalid("%s: neither YAML nor Voucher's configuration: %s", s.Name, tomlFault(err))
	}

	// Read a second time as it is written, since the library takes keys of any case for one.
	var raw map[string]any
	if err := toml.Unmarshal(s.Text, &raw); err != nil {
		return nil, invalid("%s: not TOML: %s", s.Name, tomlFault(err))
	}
	if err := lowerCase(s.Name, raw, ""); err != nil {
		return nil, err
	}

	doc := document{source: s.Name, format: "Voucher"}
	doc.always = func(d *draft) { f.settings(d) }
	groups := map[string]map[string]bool{}

	// A configuration without any group has the group of all checks, which may be empty.
	if f.Checks != nil || len(f.Required) == 0 {
		groups["all"] = f.Checks
	}

	for name, checks := range f.Required {
		if name == "all" {
			return nil, invalid("%s: [required.all] and [checks] are the same group", s.Name)
		}
		groups[name] = checks
	}

	for _, name := range slices.Sorted(maps.Keys(groups)) {
		table := "checks"
		if name != "all" {
			table = "required." + name
		}
		doc.parts = append(
			doc.parts,
			part{names: []string{name}, apply: func(d *draft) { f.group(d, table, groups[name]) }},
		)
	}
	return []document{doc}, nil
}

// shallow bounds how deep brackets nest, since the TOML library has no bound of its own.
func shallow(s policy.Source) error {
	depth := 0
	for _, c := range s.Text {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}

		if depth > maxDepth {
			return invalid("%s: neither YAML nor TOML that nests less than %d deep", s.Name, maxDepth)
		}
	}
	return nil
}

// tomlFault says what is wrong, with its place.
func tomlFault(err error) string {
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(missing.Errors) > 0 {
		line, column := missing.Errors[0].Position()
		return fmt.Sprintf("line %d, column %d: the field %s is not known, and may demand something", line, column,
			quote(strings.Join(missing.Errors[0].Key(), ".")))
	}

	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return fmt.Sprintf("line %d, column %d: %s", line, column, quote(e.Error()))
	}
	return quote(err.Error())
}

// lowerCase refuses keys in another case. Voucher takes FAILON and failon for one, and which of two values it then uses
// is chance.
func lowerCase(source string, table map[string]any, path string) error {
	for key, value := range table {
		at := strings.TrimPrefix(path+"."+key, ".")
		if key != strings.ToLower(key) {
			return invalid("%s: the key %s is not in lower case", source, quote(at))
		}
		inner, ok := value.(map[string]any)
		if !ok || path == "" && key != "checks" && key != "required" {
			continue
		}

		if err := lowerCase(source, inner, at); err != nil {
			return err
		}
	}
	return nil
}

// settings are what holds for every group.
func (f *voucherFile) settings(d *draft) {
	mode := attestor.Enforce
	if f.DryRun {
		mode = attestor.DryRun
	}
	d.modes = append(d.modes, set(d, "dryrun", mode))
	d.note("dryrun", Carried, "spec.mode", "%t: %s", f.DryRun, mode)

	// What the server is, and how it signs, judges no image. Voucher warns of image_project and does not use it: scans
	// are read in the image's own project. The fallback of containeranalysis is for builds, which only checks ask for
	// that are lost; grafeasos and repository are for them, too, or for a store that is.
	for _, t := range []struct {
		name  string
		given bool
	}{
		{"signer", f.Signer != ""}, {"binauth_project", f.BinauthProject != ""},
		{"image_project", f.ImageProject != ""},
		{"server", f.Server != nil}, {"ejson", f.EJSON != nil}, {"sops", f.SOPS != nil}, {"pubsub", f.PubSub != nil},
		{"metrics", f.Metrics != nil}, {"statsd", f.StatsD != nil}, {"opentelemetry", f.OpenTelemetry != nil},
		{"repository", f.Repository != nil}, {"containeranalysis", f.ContainerAnalysis != nil},
		{"grafeasos", f.GrafeasOS != nil},
	} {
		if t.given {
			d.note(t.name, LeftOut, "", "it judges no image by itself; attestor.yaml configures the service")
		}
	}

	for i, key := range f.KMSKeys {
		d.note(
			fmt.Sprintf("kms_keys[%d]", i),
			LeftOut,
			"",
			"the key that signs for the check %s: an attestor of the policy has one key for "+
				"all that it demands",
			quote(fmt.Sprint(key["check"])),
		)
	}
}

// group applies one group of checks.
func (f *voucherFile) group(d *draft, table string, checks map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		path := table + "." + name
		if !checks[name] {
			d.note(path, LeftOut, "", "the check is not in force")
			continue
		}

		switch {
		case name == "diy":
			f.diy(d, path)
		case name == "nobody":
			f.nobody(d, path)
		case name == "snakeoil":
			f.snakeoil(d, path)
		case name == "provenance":
			d.note(
				path,
				Lost,
				"",
				"the builders %s in the projects %s: a policy cannot name who started a build; the nearest are "+
					"provenance.builders and provenance.sources",
				clipList(f.TrustedBuilderIdentities),
				clipList(f.TrustedProjects),
			)
		case name == "approved":
			d.note(
				path,
				Lost,
				"",
				"reviews, signed commits and CI results on GitHub: this gate judges images, and no pull requests",
			)
		case strings.HasPrefix(name, "is_"):
			d.note(path, Lost, "", "built from a repository of the organization %s: write provenance.sources for it",
				quote(strings.TrimPrefix(name, "is_")))
		default:
			d.fail("%s: %s is not a check of Voucher", d.source, quote(path))
		}
	}

	// Settings of checks that are not in force demand nothing.
	for _, t := range []struct {
		name, check string
		given       bool
	}{
		{"valid_repos", "diy", len(f.ValidRepos) > 0}, {"failon", "snakeoil", f.FailOn != ""},
		{"trusted_builder_identities", "provenance", len(f.TrustedBuilderIdentities) > 0},
		{"trusted_projects", "provenance", len(f.TrustedProjects) > 0},
		{"scanner", "snakeoil", f.Scanner != ""}, {"metadata_client", "snakeoil", f.MetadataClient != ""},
	} {
		if t.given && !checks[t.check] {
			d.note(t.name, LeftOut, "", "the check %s, which uses it, is not in force", t.check)
		}
	}
}

// diy turns prefixes of names into directories. A prefix ends anywhere, so that gcr.io/acme admits gcr.io/acme-evil,
// too; a directory does not.
func (f *voucherFile) diy(d *draft, path string) {
	before := len(d.directories)
	for i, prefix := range f.ValidRepos {
		at := fmt.Sprintf("valid_repos[%d]", i)
		name := strings.TrimSuffix(prefix, "/")
		if rest, ok := strings.CutPrefix(name, "docker.io/"); ok {
			name = "index.docker.io/" + rest
		}

		// To Voucher a star is a letter, and no repository has it: as a pattern it would match everything.
		if strings.ContainsAny(name, "*") {
			d.note(at, LeftOut, "", "%s matches no image in Voucher, which knows no wildcards", quote(prefix))
			continue
		}

		// Voucher's names of Docker Hub begin with docker.io, whatever the reference said: this prefix is of none.
		if strings.HasPrefix(prefix, "index.docker.io") {
			d.note(at, LeftOut, "", "%s matches no image in Voucher, whose names of Docker Hub begin with docker.io/",
				quote(prefix))
			continue
		}

		// A prefix with a slash at its end is none of the name without it, which "/**" matches as well.
		below := "/**"
		if strings.HasSuffix(prefix, "/") {
			below = "/*/**"
		}
		pattern, err := attestor.ParsePattern(name + below)
		if err != nil {
			d.note(at, LeftOut, "", "%s matches no image, or all: %v", quote(prefix), err)
			continue
		}

		d.directories = append(d.directories, set(d, at, pattern))
		d.note(
			at,
			Stricter,
			"spec.scope.trustedDirectories",
			"%s: Voucher admits every name that begins so, %s included",
			pattern,
			quote(prefix+"-evil"),
		)
	}

	if len(d.directories) == before {
		d.note(path, Lost, "", "valid_repos has no directory of images, so that Voucher refuses every image, or none")
		return
	}
	d.note(path, Carried, "spec.scope.trustedDirectories", "that the image can be read is demanded of every image")
}

// nobody is not the check that Voucher runs, but the one that it documents: its code reads container_config, which
// today's builders leave empty, and knows four spellings of root. Of an image whose two users differ, Voucher's verdict
// is about a user that does not run; the requirement, that root does not run, holds here for every image.
func (f *voucherFile) nobody(d *draft, path string) {
	d.nonRoot = set(d, path, true)
	d.note(
		path,
		Stricter,
		"spec.user",
		"Voucher reads container_config.User, which is not what runs, and takes 00, root:root and 0:1000 for "+
			"other users than root; here the image's own user is judged as runtimes read it, so that an image whose "+
			"two users differ can pass here and not there",
	)
}

// snakeoil maps the lowest severity that fails to the highest that passes.
func (f *voucherFile) snakeoil(d *draft, path string) {
	highest := map[string]attestor.Ceiling{
		"negligible": attestor.BlockAll, "low": attestor.Ceiling(attestor.Minimal),
		"medium": attestor.Ceiling(attestor.Low),
		"unknown": attestor.Ceiling(
			attestor.Medium,
		), "high": attestor.Ceiling(attestor.Medium), "critical": attestor.Ceiling(attestor.High),
	}

	limit, ok := highest[f.FailOn]
	if !ok {
		d.fail("%s: failon is %s; want negligible, low, medium, unknown, high or critical", d.source, quote(f.FailOn))
		return
	}

	// Findings of another scanner are not those that this gate reads.
	if !slices.Contains([]string{"metadata", "gca", "g"}, f.Scanner) {
		d.note("scanner", Lost, "", "%s: only scans in Container Analysis are read", quote(f.Scanner))
		return
	}

	if f.MetadataClient == "grafeasos" || f.MetadataClient != "" && f.MetadataClient != "containeranalysis" {
		d.note("metadata_client", Lost, "", "%s: only scans in Container Analysis are read", quote(f.MetadataClient))
		return
	}

	d.limit(set(d, "failon", limit), set(d, "failon", limit))
	d.note(path, Carried, "spec.vulnerabilities.scan", "a finished scan is required")
	d.note("scanner", Carried, "spec.vulnerabilities.scan", "scans in Container Analysis, in the image's own project")
	if f.MetadataClient != "" {
		d.note("metadata_client", Carried, "spec.vulnerabilities.scan", "%s", f.MetadataClient)
	}
	if f.FailOn == "high" || f.FailOn == "critical" {
		d.note(
			"failon",
			Stricter,
			"spec.vulnerabilities",
			"%s: up to %s passes; Voucher also passes findings without a severity, which are "+
				"refused here unless unspecifiedSeverity is allow",
			f.FailOn,
			limit,
		)
		return
	}
	d.note("failon", Carried, "spec.vulnerabilities", "%s: up to %s passes", f.FailOn, limit)
}
